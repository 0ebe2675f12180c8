//! Traces and dry runs: settings that the stand-in reads when it is loaded, so the launch happens in a process of its own.

mod common;
use common::{Gpu, config, numbers};
use std::process::Command;

const NAME: &str = "dry_launches_are_told_and_not_run";

#[test]
fn dry_launches_are_told_and_not_run() {
    if std::env::var_os("STANDIN_TRACE").is_some() {
        return launch_dry();
    }
    if Gpu::plain().is_none() {
        return;
    }
    let trace = std::env::temp_dir().join(format!("standin-trace-{}", std::process::id()));
    let mut child = Command::new(std::env::current_exe().unwrap());
    let child = child.args(["--exact", NAME]).env("STANDIN_TRACE", &trace).env("STANDIN_DRY", "1");
    assert!(child.status().unwrap().success());
    let told = std::fs::read_to_string(&trace).unwrap();
    std::fs::remove_file(&trace).unwrap();
    let [x, y, a, n] = [(true, 1), (true, 1), (false, 0.3f32.to_bits()), (false, 10_007)]
        .map(|(pointer, word)| format!(r#"["", 0, {pointer}, {word}]"#));
    let launch = r#""kernel": "basic_saxpy", "grid": [7, 1, 1], "block": [256, 1, 1], "shared": 0"#;
    assert_eq!(told, format!("{{{launch}, \"arguments\": [{x}, {y}, {a}, {n}]}}\n"));
}

fn launch_dry() {
    let gpu = Gpu::plain().unwrap();
    let [x, mut y] = [1, 2].map(|seed| gpu.stream.clone_htod(&numbers(10_007, seed)).unwrap());
    launch!(gpu, "basic_saxpy", config(7, 256, 0), &x, &mut y, &0.3f32, &10_007i32).unwrap();
    assert_eq!(gpu.stream.clone_dtoh(&y).unwrap(), vec![0.0; 10_007]);
}
