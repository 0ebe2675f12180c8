//! The program `fcdd`.

#[global_allocator]
static ALLOCATOR: fcdd::cli::Allocator = fcdd::cli::Allocator;

fn main() -> std::process::ExitCode {
    #[cfg(feature = "failpoints")]
    let _asked_for = fail::FailScenario::setup();
    fcdd::cli::main(std::env::args_os().collect()).into()
}
