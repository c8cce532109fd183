//! What `gatepass --version` says of the build. No path of the machine is part of it, so that the same
//! source makes the same binary everywhere.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // By it the binary that is released is linked, which cargo does not see.
    println!("cargo::rerun-if-changed=deploy/image/functions");
    // Named by whoever builds a release. Asking git would build everything anew after each commit.
    println!("cargo::rerun-if-env-changed=GATEPASS_COMMIT");
    let commit = env::var("GATEPASS_COMMIT").unwrap_or_else(|_| "not told".into());
    let target = env::var("TARGET").unwrap_or_default();
    let profile = env::var("PROFILE").unwrap_or_default();
    let compiler = env::var("RUSTC").ok().and_then(|compiler| {
        let output = Command::new(compiler).arg("--version").output().ok()?;
        String::from_utf8(output.stdout).ok()
    });
    let compiler = compiler.unwrap_or_default();
    for (name, value) in [
        ("COMMIT", commit.as_str()),
        ("TARGET", &target),
        ("PROFILE", &profile),
        ("COMPILER", compiler.trim()),
    ] {
        println!("cargo::rustc-env=GATEPASS_BUILD_{name}={value}");
    }
}
