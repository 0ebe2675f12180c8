//! Which GPUs the kernels are compiled for.

/// What a release is compiled for, so far as the nvcc knows it. Machine code runs on its own major version from its minor one on:
/// sm_80 also on 8.6, 8.7 and 8.9, sm_100 on 10.3, sm_120 on 12.1. The kernels use no instructions that 8.6 or 8.9 add, and each version
/// takes its share of the time and the size of a build.
const RELEASE: [u32; 5] = [75, 80, 90, 100, 120];

/// The newest PTX. A driver compiles PTX for every GPU that is newer than it, so one version is enough, and it decides which
/// instructions such a GPU gets. That of the oldest GPU would reach everything, but without the tensor-core and copy instructions
/// of sm_80 and later; that of the newest would leave a gap behind RELEASE (11.x). 9.0 has all that the kernels use and is older
/// than everything that RELEASE lacks.
const PTX: u32 = 90;

/// Machine code for these, and PTX for what is newer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Architectures {
    machine: Vec<u32>,
    ptx: u32,
}

impl Architectures {
    /// Those that `wanted` lists (`80,90`), else those of a release. `known` is what `nvcc --list-gpu-code` prints.
    pub fn choose(wanted: Option<&str>, known: &str) -> Result<Architectures, String> {
        let known: Vec<u32> = known.lines().filter_map(|l| l.trim().strip_prefix("sm_")?.parse().ok()).collect();
        let wanted = wanted.unwrap_or_default();
        let mut machine = Vec::new();
        for word in wanted.split([',', ' ']).filter(|w| !w.is_empty()) {
            match word.strip_prefix("sm_").unwrap_or(word).parse() {
                Ok(number) if known.contains(&number) => machine.push(number),
                _ => return Err(format!("FCDD_CUDA_ARCHS: `{word}` is none of those that this nvcc knows: {known:?}")),
            }
        }
        if machine.is_empty() {
            machine.extend(RELEASE.into_iter().filter(|number| known.contains(number)));
        }
        machine.sort();
        machine.dedup();
        let newest =
            *machine.last().ok_or("this nvcc knows none of the architectures that the kernels are written for")?;
        Ok(Architectures { machine, ptx: newest.min(PTX) })
    }

    /// `sm_75`, …, `compute_90`
    pub fn names(&self) -> Vec<String> {
        let machine = self.machine.iter().map(|number| format!("sm_{number}"));
        machine.chain([format!("compute_{}", self.ptx)]).collect()
    }

    /// nvcc's arguments for a file. Where a line of it reads `// architectures: 90a`, it is compiled for sm_90a in place of sm_90,
    /// which unlocks the instructions of that one GPU; likewise for others.
    pub fn arguments(&self, source: &str) -> Vec<String> {
        let special = source.lines().find_map(|l| l.strip_prefix("// architectures:")).unwrap_or_default();
        let special: Vec<&str> = special.split([',', ' ']).filter(|w| !w.is_empty()).collect();
        let name = |number: &u32| {
            let number = number.to_string();
            special.iter().find(|s| s.trim_end_matches(['a', 'f']) == number).map_or(number, |s| s.to_string())
        };
        let machine = self.machine.iter().map(name).map(|n| format!("-gencode=arch=compute_{n},code=sm_{n}"));
        machine.chain([format!("-gencode=arch=compute_{0},code=compute_{0}", self.ptx)]).collect()
    }
}
