//! `fcdd info`

use super::Outcome;
use super::common::{print_json, print_lines};
use crate::error::Result;
use crate::run::info::info;

/// Show devices, build and nets.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print it as one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    let info = info()?;
    if args.json {
        print_json(&info)?;
        return Ok(Outcome::Fine);
    }
    let mut lines = vec![
        format!("build  {}", info.build),
        format!("cpu    {} threads", info.cpu_threads),
        format!("cuda   {}", info.cuda),
        String::new(),
        format!(
            "{:<22} {:>9} {:>7} {:>5} {:>9} {:>11} {:>16} {:>16}",
            "net", "input", "map", "jump", "receptive", "parameters", "forward MFLOP", "training MFLOP"
        ),
    ];
    for net in &info.nets {
        lines.push(format!(
            "{:<22} {:>9} {:>7} {:>5} {:>9} {:>11} {:>16.1} {:>16.1}",
            net.name,
            format!("{}×{}²", net.channels, net.side),
            format!("{}²", net.map_side),
            net.jump,
            format!("{}²", net.receptive_field),
            net.parameters,
            net.forward_flops as f64 / 1e6,
            net.training_flops as f64 / 1e6,
        ));
    }
    print_lines(&lines.join("\n"))?;
    Ok(Outcome::Fine)
}
