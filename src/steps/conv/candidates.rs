//! Every tile that a convolution of bf16 could be computed in, the one that is chosen among them: to be timed side by side.

use serde::Serialize;

use super::cuda::sum_of_parts;
use super::cuda::tensor::{self, By, Forward};
use super::{ConvGeometry, Dgrad, Fprop, Wgrad};
use crate::device::cuda::{Cuda, DeviceBuffers, Result};
use crate::error::CudaError;
use crate::steps::access::{Access, CheckedBuffers};

/// What the blocks of a kernel compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CandidateTile {
    /// `mma`, `mma, packed` for channels that are no multiple of 8, or `wgmma`.
    pub product: &'static str,
    pub rows: usize,
    pub columns: usize,
    /// Into which wgrad cuts the pixels; None for the other passes.
    pub parts: Option<usize>,
}

impl CandidateTile {
    /// Of a product that sums over so many channels.
    fn new<K>(by: &By<K>, channels: usize, parts: Option<usize>) -> CandidateTile {
        let [rows, columns] = by.sides();
        let product = match by {
            By::Wgmma => "wgmma",
            By::Mma(_) if tensor::is_packed(channels) => "mma, packed",
            By::Mma(_) => "mma",
        };
        CandidateTile { product, rows, columns, parts }
    }
}

/// A convolution of bf16 in one tile.
pub struct Candidate<'a> {
    pub geometry: ConvGeometry,
    pub tile: CandidateTile,
    /// Whether the step takes this tile as the device is set.
    pub chosen: bool,
    /// Scratch elements that it needs.
    pub workspace: usize,
    /// What the step reads and writes.
    operands: [Access; 2],
    launch: LaunchCandidate<'a>,
}

type LaunchCandidate<'a> = Box<dyn Fn(&CheckedBuffers) -> Result<()> + 'a>;

impl Candidate<'_> {
    /// Runs the step, as [`Operation::cuda`](super::Operation::cuda) does, where its operands and its workspace are in this memory.
    pub fn cuda(&self, memory: &DeviceBuffers) -> Result<()> {
        let (needed, found) = (self.workspace, memory.workspace_len());
        let scarce = (needed > found).then(|| format!("its workspace has {found} elements, {needed} are needed"));
        let lacking = || self.operands.iter().find_map(|operands| operands.lacking(memory));
        if let Some(reason) = scarce.or_else(lacking) {
            return Err(CudaError::Refused { reason });
        }
        (self.launch)(&CheckedBuffers(memory))
    }
}

impl Fprop {
    /// Its candidates; x is bf16.
    pub(super) fn in_tiles(&self, cuda: &Cuda, operands: &[Access; 2]) -> Vec<Candidate<'_>> {
        let g = &self.geometry;
        let chosen = CandidateTile::new(&tensor::fprop_by(cuda, Forward::of_fprop(g)), g.c, None);
        let candidate = |by| {
            let tile = CandidateTile::new(&by, g.c, None);
            let workspace = self.stats.map_or(0, |_| 2 * g.k * g.pixels().div_ceil(tile.rows));
            let launch: LaunchCandidate = Box::new(move |memory| tensor::fprop(self, memory, by));
            let operands = operands.clone();
            Candidate { geometry: self.geometry, tile, chosen: tile == chosen, workspace, operands, launch }
        };
        tensor::fprop_candidates(cuda, Forward::of_fprop(g)).into_iter().map(candidate).collect()
    }
}

impl Dgrad {
    /// Its candidates; dy is bf16.
    pub(super) fn in_tiles(&self, cuda: &Cuda, operands: &[Access; 2]) -> Vec<Candidate<'_>> {
        let g = &self.geometry;
        let chosen = CandidateTile::new(&tensor::fprop_by(cuda, Forward::of_dgrad(g)), g.k, None);
        let candidate = |by| {
            let tile = CandidateTile::new(&by, g.k, None);
            let launch: LaunchCandidate = Box::new(move |memory| tensor::dgrad(self, memory, by));
            let operands = operands.clone();
            Candidate { geometry: self.geometry, tile, chosen: tile == chosen, workspace: 0, operands, launch }
        };
        tensor::fprop_candidates(cuda, Forward::of_dgrad(g)).into_iter().map(candidate).collect()
    }
}

impl Wgrad {
    /// Its candidates; x is bf16. Of each tile with the pixels in one part, two, four and so on, and in as many as are chosen.
    pub(super) fn in_tiles(&self, cuda: &Cuda, operands: &[Access; 2]) -> Vec<Candidate<'_>> {
        let usual = tensor::parts(self).count;
        let chosen = CandidateTile::new(&tensor::wgrad_by(cuda, &self.geometry), self.geometry.c, Some(usual));
        let wanted = (0..usize::BITS).map(|i| 1 << i).take_while(|&n| n <= tensor::MANY_BLOCKS).chain([usual]);
        // Few pixels are cut into fewer parts than wanted.
        let mut counts: Vec<usize> = wanted.map(|wanted| tensor::parts_of(self, wanted).count).collect();
        counts.sort_unstable();
        counts.dedup();
        let mut candidates = Vec::new();
        for by in tensor::wgrad_candidates(cuda, &self.geometry) {
            for &count in &counts {
                let tile = CandidateTile::new(&by, self.geometry.c, Some(count));
                let workspace = if count == 1 { 0 } else { count * self.part_length() };
                let launch: LaunchCandidate = Box::new(move |memory| {
                    let parts = tensor::parts_of(self, count);
                    sum_of_parts(self, memory, &parts, |sums| tensor::shares(self, memory, by, sums))
                });
                let (geometry, chosen, operands) = (self.geometry, tile == chosen, operands.clone());
                candidates.push(Candidate { geometry, tile, chosen, workspace, operands, launch });
            }
        }
        candidates
    }
}
