//! The program `fcdd`.

fn main() -> std::process::ExitCode {
    #[cfg(feature = "failpoints")]
    let _asked_for = fail::FailScenario::setup();
    fcdd::cli::main()
}
