//! Scores images with a trained model: `cargo run --release --example detect -- RUN IMAGE…`

use fcdd::{Detector, Device, Verdict};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("name a model file or the folder of a run, then images")?;
    let detector = Detector::load(model, Device::auto())?;

    // Files are read, resized and scored several at a time. An image in memory is scored by `detector.detect(&image)?`.
    let images: Vec<String> = arguments.collect();
    for (image, detection) in images.clone().iter().zip(detector.detect_iter(images)) {
        let detection = detection?;
        println!("{image}: {:.4}, threshold {:.4}, {:?}", detection.score, detection.threshold, detection.verdict);
        if detection.verdict == Verdict::Anomalous {
            detection.heatmap()?.to_image().save(format!("{image}.heatmap.png"))?;
        }
    }
    Ok(())
}
