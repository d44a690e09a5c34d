// How a program without libc is linked: what the build scripts of such programs have in common, by `include!`.
//
// Here and not in `RUSTFLAGS`, where it would break the build scripts of dependencies.

fn main() {
    let directory = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let script = format!("{directory}/../static-start/link.ld");
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rerun-if-changed={directory}/../static-start/link.rs");
    // The release profile's panics abort, and so it needs no standard library.
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    for argument in [
        "-nostartfiles",
        "-nodefaultlibs",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,--gc-sections",
        "-Wl,-z,norelro",
        "-Wl,-z,noseparate-code",
        &format!("-Wl,-T,{script}"),
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
