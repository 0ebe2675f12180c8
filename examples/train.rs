//! Trains on a folder of good images: `cargo run --release --example train -- FOLDER MODEL`

use fcdd::{Device, Event, Settings, Trainer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, model] = arguments.as_slice() else {
        return Err("name a folder of good images, and the model file to write".into());
    };
    let show = |event: Event| match event {
        Event::Progress { done, total, detail, .. } => eprint!("\r{done} of {total} images, {}   ", detail()),
        Event::Finished { summary, .. } => eprintln!("\r{summary}"),
        Event::Note(note) => eprintln!("{note}"),
        _ => {}
    };
    let mut settings = Settings::folder(folder);
    settings.epochs = 10;
    let trained = Trainer::new(settings).on_event(&show).train(&Device::auto())?;
    for epoch in &trained.history {
        println!("epoch {}: loss {:.4}", epoch.epoch, epoch.loss);
    }
    trained.model.save(model)?;
    Ok(())
}
