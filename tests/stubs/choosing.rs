//! Architectures of a build.

use crate::architectures::Architectures;

const CUDA_12: &str = "sm_50\nsm_75\nsm_80\nsm_86\nsm_87\nsm_89\nsm_90\n";
const CUDA_13: &str = "sm_75\nsm_80\nsm_86\nsm_87\nsm_88\nsm_89\nsm_90\nsm_100\nsm_110\nsm_103\nsm_120\nsm_121\n";

fn names(wanted: Option<&str>, known: &str) -> Vec<String> {
    Architectures::choose(wanted, known).unwrap().names()
}

#[test]
fn a_release_takes_what_the_compiler_knows() {
    let newest = ["sm_75", "sm_80", "sm_90", "sm_100", "sm_120", "compute_90"];
    assert_eq!(names(None, CUDA_13), newest);
    assert_eq!(names(Some(""), CUDA_13), newest);
    assert_eq!(names(None, CUDA_12), ["sm_75", "sm_80", "sm_90", "compute_90"]);
    assert!(Architectures::choose(None, "sm_35\n").is_err());
}

#[test]
fn a_list_narrows_it() {
    assert_eq!(names(Some("90,80"), CUDA_13), ["sm_80", "sm_90", "compute_90"]);
    assert_eq!(names(Some("sm_75"), CUDA_13), ["sm_75", "compute_75"]);
    assert_eq!(names(Some("120"), CUDA_13), ["sm_120", "compute_90"]);
    for bad in ["60", "x", "80;90", "90a"] {
        let error = Architectures::choose(Some(bad), CUDA_13).unwrap_err();
        assert!(error.contains(&format!("`{bad}` is none of those")), "{error}");
    }
}

#[test]
fn a_file_can_ask_for_one_gpus_instructions() {
    let chosen = Architectures::choose(Some("80,90,120"), CUDA_13).unwrap();
    let plain = ["80,code=sm_80", "90,code=sm_90", "120,code=sm_120", "90,code=compute_90"];
    assert_eq!(chosen.arguments("// a kernel"), plain.map(|a| format!("-gencode=arch=compute_{a}")));
    let special = ["80,code=sm_80", "90a,code=sm_90a", "120,code=sm_120", "90,code=compute_90"];
    let text = "// A kernel.\n// architectures: 90a, 100a\n";
    assert_eq!(chosen.arguments(text), special.map(|a| format!("-gencode=arch=compute_{a}")));
}
