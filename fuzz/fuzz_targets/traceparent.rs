//! Whatever a caller says of its trace, reading it ends, and what is sent on is read as the same.
#![no_main]

use gatepass::traces::TraceContext;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|field: &str| {
    if let Some(context) = TraceContext::parse(field) {
        let sent_on = context.to_field();
        let again = sent_on.to_str().ok().and_then(TraceContext::parse);
        assert_eq!(again, Some(context));
    }
});
