//! TOML as gatepass writes it.

pub(super) use crate::config::quoted;
