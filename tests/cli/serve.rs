//! The service: what it finds, what it refuses, and how it ends.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::import::in_golden;
use crate::service::{Answer, Served};
use crate::support::{Scratch, png, png_with, vast_png};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/run-0.1");
const DETECT: &str = "/v1/models/run/detect";

fn golden(words: &str) -> (Scratch, Served) {
    let scratch = Scratch::new();
    let served = Served::start(&scratch, &format!("{GOLDEN}/run {words}"));
    (scratch, served)
}

/// The images that the golden model was tested on.
fn images() -> Vec<PathBuf> {
    let folders = ["good", "dent"].map(|kind| Path::new(GOLDEN).join("data/test").join(kind));
    let mut images: Vec<PathBuf> =
        folders.iter().flat_map(|folder| folder.read_dir().unwrap().map(|entry| entry.unwrap().path())).collect();
    images.sort();
    images
}

/// What of a result must be the same however it came about.
fn found(result: &Value) -> [String; 4] {
    ["score", "normalized_score", "threshold", "verdict"].map(|key| result[key].to_string())
}

/// Alone, in a form, and in the company of many others, bit for bit.
#[test]
fn a_score_is_that_of_predict() {
    let (scratch, served) = golden("--wait-ms 20");
    let ran = scratch.run(&format!("predict {GOLDEN}/run {GOLDEN}/data/test --out out --json --device cpu"));
    let predicted = ran.expect_success().json()["predictions"].as_array().unwrap().clone();
    let of = |path: &Path| {
        let row = predicted.iter().find(|row| row["image"] == path.to_str().unwrap()).unwrap();
        found(row)
    };
    let images = images();
    assert!(images.len() == 8 && predicted.len() == 8);
    for path in &images {
        let answer = served.post(DETECT, &fs::read(path).unwrap());
        assert_eq!((answer.status, found(&answer.json())), (200, of(path)));
    }
    thread::scope(|scope| {
        for _ in 0..4 {
            for path in &images {
                let (served, of) = (&served, &of);
                scope.spawn(move || assert_eq!(found(&served.post(DETECT, &fs::read(path).unwrap()).json()), of(path)));
            }
        }
    });
    let files: Vec<(String, Vec<u8>)> = images
        .iter()
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_string(), fs::read(path).unwrap()))
        .collect();
    let mut form: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    form.insert(2, ("broken.png", b"noise"));
    let json = served.post_form(DETECT, &form).json();
    let mut results = json["results"].as_array().unwrap().clone();
    let broken = results.remove(2);
    assert_eq!((&broken["name"], &broken["error"]["status"]), (&"broken.png".into(), &400.into()));
    for (result, path) in results.iter().zip(&images) {
        assert_eq!(found(result), of(path));
        assert_eq!(result["name"], path.file_name().unwrap().to_str().unwrap());
    }
}

#[test]
fn heatmap_overlay_and_image_come_as_png() {
    let (_scratch, served) = golden("");
    let path = &images()[0];
    let sent = fs::read(path).unwrap();
    let json = served.post(&format!("{DETECT}?heatmap=png&overlay=png&image=png"), &sent).json();
    let png = |key: &str| {
        let bytes = BASE64_STANDARD.decode(json[key].as_str().unwrap()).unwrap();
        image::load_from_memory(&bytes).unwrap()
    };
    let image = image::open(path).unwrap();
    assert_eq!((png("image"), json["width"].as_u64()), (image.clone(), Some(image.width().into())));
    let detector = fcdd::Detector::load(Path::new(GOLDEN).join("run"), fcdd::Device::Cpu).unwrap();
    let heatmap = detector.detect(&image).unwrap().heatmap().unwrap();
    let mut overlay = image.to_rgb8();
    heatmap.overlay(&mut overlay, 0.45).unwrap();
    assert!(png("heatmap").to_rgb8() == heatmap.to_image() && png("overlay").to_rgb8() == overlay);
    let plain = served.post(DETECT, &sent).json();
    assert!(plain.get("heatmap").is_none() && plain.get("overlay").is_none() && plain.get("image").is_none());
    let grey = served.post(&format!("{DETECT}?heatmap=grey"), &sent).json();
    let grey = BASE64_STANDARD.decode(grey["heatmap"].as_str().unwrap()).unwrap();
    let grey = image::load_from_memory(&grey).unwrap().to_luma8();
    let values = heatmap.values().iter().map(|value| (value * 255.0 + 0.5) as u8).collect::<Vec<u8>>();
    assert_eq!(grey.into_raw(), values);
}

/// Those that `predict` finds; the overlay shows them.
#[test]
fn regions_are_those_of_predict() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("run")).unwrap();
    fs::copy(Path::new(GOLDEN).join("run/model.safetensors"), scratch.path("run/model.safetensors")).unwrap();
    let sent = fs::read(images().iter().find(|path| path.to_str().unwrap().contains("dent")).unwrap()).unwrap();
    let unknown = Served::start(&scratch, "run");
    unknown.post(&format!("{DETECT}?regions=true"), &sent).expect(400, "fcdd calibrate");
    drop(unknown);
    scratch.run(&format!("calibrate run --good {GOLDEN}/data/train/good --device cpu")).expect_success();
    fs::write(scratch.path("part.png"), &sent).unwrap();
    let predict = "predict run part.png --out results --what overlay,regions --json --device cpu --no-input-check";
    let predicted = scratch.run(predict).expect_success().json();
    let served = Served::start(&scratch, "run");
    let json = served.post(&format!("{DETECT}?regions=true&overlay=png"), &sent).json();
    assert!(!json["regions"].as_array().unwrap().is_empty());
    assert_eq!(json["regions"], predicted["predictions"][0]["regions"]);
    let overlay = BASE64_STANDARD.decode(json["overlay"].as_str().unwrap()).unwrap();
    let drawn = image::open(scratch.path("results/part_overlay.png")).unwrap();
    assert_eq!(image::load_from_memory(&overlay).unwrap(), drawn);
}

#[test]
fn what_is_no_image_or_too_large_is_refused() {
    let (_scratch, served) = golden("--max-body 1M --memory 40M --queue 4");
    served.post(DETECT, b"").expect(400, "empty");
    served.post(DETECT, b"hello").expect(400, "not a readable image");
    served.post(DETECT, &png(30, 30)[..60]).expect(400, "not a readable image");
    let noise: Vec<u8> = (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    served.post(DETECT, &noise).expect(400, "not a readable image");
    served.post(DETECT, &[&noise[..], b"!"].concat()).expect(413, "max_body");
    served.post(DETECT, &noise.repeat(10)).expect(413, "max_body");
    // What does not say how much will come.
    let chunk = [format!("{:x}\r\n", noise.len()).as_bytes(), &noise, b"\r\n"].concat();
    let head =
        format!("POST {DETECT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    served.send(&[head.as_bytes(), &chunk, &chunk, b"0\r\n\r\n"].concat()).expect(413, "max_body");
    // Bombs: a vast PNG that has to lie there whole, one that is read row by row but not drawn.
    served.post(DETECT, &vast_png(30_000, true)).expect(413, "memory");
    let large = vast_png(8000, false);
    assert_eq!(served.post(DETECT, &large).status, 200);
    served.post(&format!("{DETECT}?heatmap=png"), &large).expect(413, "memory");
    // Nothing of it stays behind.
    let image = png(30, 30);
    assert_eq!(served.post(DETECT, &image).status, 200);
    served.post_form(DETECT, &[("a.png", &image[..]); 5]).expect(413, "5 images");
    served.post_form::<&str>(DETECT, &[]).expect(400, "no images");
    served.post_form(DETECT, &[("a.png", &image[..]), ("e\u{1b}[31m.png", &image)]).expect(400, "control characters");
    served.ask("POST", DETECT, &["Content-Type: multipart/form-data"], &image).expect(400, "boundary");
    served.ask("POST", DETECT, &["Content-Type: application/json"], b"{}").expect(415, "multipart");
    served.post(&format!("{DETECT}?heatmap=gif"), &image).expect(400, "gif");
    served.post(&format!("{DETECT}?heatmaps=png"), &image).expect(400, "heatmaps");
    served.post("/v1/models/other/detect", &image).expect(404, "no model");
    served.post("/v1/models/%ff/detect", &image).expect(400, "");
    served.get("/v1").expect(404, "nothing");
    let refused = served.get(DETECT);
    assert!(refused.expect(405, "Allow").head.contains("allow: post"), "{}", refused.head);
}

#[test]
fn who_stalls_is_told_and_left() {
    let (_scratch, served) = golden("--timeout 1 --connections 2");
    let started = Instant::now();
    // A body that does not come, and a head.
    let mut bodyless = served.connect();
    bodyless
        .write_all(b"POST /v1/models/run/detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nx")
        .unwrap();
    let mut headless = served.connect();
    headless.write_all(b"POST /v1/mo").unwrap();
    // Both connections that there are: the third waits for theirs.
    assert_eq!(served.get("/healthz").status, 200);
    assert!(started.elapsed() > Duration::from_millis(900), "{:?}", started.elapsed());
    Answer::read(&mut bodyless).expect(408, "within 1 s");
    let mut nothing = Vec::new();
    let _ = headless.read_to_end(&mut nothing);
    assert!(started.elapsed() < Duration::from_secs(20));
}

/// An answer of some megabytes of which nothing is read holds up its connection for the time that there is, and no longer.
#[test]
fn who_takes_no_answer_is_left() {
    let (_scratch, served) = golden("--timeout 1 --connections 1");
    let noise =
        |x: u32, y: u32| image::Luma([(x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503) ^ (x * y)) as u8]);
    let mut bytes = Vec::new();
    let image = image::GrayImage::from_fn(4000, 3000, noise);
    image.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
    let path = format!("{DETECT}?image=png&overlay=png");
    let mut silent = served.connect();
    silent.write_all(&served.request("POST", &path, &[], &bytes)).unwrap();
    let started = Instant::now();
    // The next one waits for the only connection, in which the answer is first made, and then not taken.
    assert_eq!(served.get("/healthz").status, 200);
    assert!(started.elapsed() > Duration::from_secs(1), "{:?}", started.elapsed());
    // What the system had on the way is all that comes.
    let mut taken = Vec::new();
    let _ = silent.read_to_end(&mut taken);
    let length = String::from_utf8_lossy(&taken).to_lowercase();
    let length = length.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap().parse::<usize>().unwrap();
    assert!(taken.len() < length, "{} of {length} bytes came", taken.len());
    assert_eq!(served.post(DETECT, &png(30, 30)).status, 200);
}

/// Files keep their names, whatever bytes those are.
#[test]
fn names_that_are_no_text_are_spelt_out() {
    let (_scratch, served) = golden("");
    let image = png(30, 30);
    let names: [&[u8]; 4] = [b"part.png", "teil-\u{e4}.png".as_bytes(), b"teil-\xe4.png", b"\xff\\xfe; filename=x.png"];
    let answer = served.post_form(DETECT, &names.map(|name| (name, &image[..]))).json();
    let told: Vec<&str> =
        answer["results"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(told, ["part.png", "teil-\u{e4}.png", "teil-\\xe4.png", "\\xff\\\\xfe; filename=x.png"]);
}

/// A model that was imported has no threshold: it says so, and gives scores alone until it is calibrated.
#[test]
fn without_a_threshold_there_is_no_verdict() {
    let scratch = Scratch::new();
    let (snapshot, config) = (in_golden("snapshot.pt"), in_golden("config.txt"));
    scratch.run(&format!("import {snapshot} --config {config} --out run")).expect_success();
    let served = Served::start(&scratch, "run");
    let told = fs::read_to_string(scratch.path("told")).unwrap();
    assert!(told.contains("run has no threshold") && told.contains("fcdd calibrate"), "{told}");
    assert!(served.get("/v1/models").json()["models"][0]["threshold"].is_null());
    let found = served.post(DETECT, &png(30, 30)).json();
    assert!(found["score"].as_f64().unwrap() > 0.0, "{found}");
    assert!(["threshold", "normalized_score", "verdict"].iter().all(|key| found[key].is_null()), "{found}");
    drop(served);

    (0..4).for_each(|i| drop(scratch.write(&format!("good/{i}.png"), &png(30 + i, 30))));
    scratch.run("calibrate run --good good").expect_success();
    let served = Served::start(&scratch, "run");
    assert!(!fs::read_to_string(scratch.path("told")).unwrap().contains("no threshold"));
    let found = served.post(DETECT, &png(30, 30)).json();
    assert_eq!((&found["verdict"], found["threshold"].is_number()), (&"good".into(), true), "{found}");
}

#[test]
fn a_full_queue_is_told() {
    let (_scratch, served) = golden("--queue 1");
    let image = png(3000, 3000);
    let together = Barrier::new(12);
    let answers: Vec<Answer> = thread::scope(|scope| {
        let ask = || {
            together.wait();
            served.post(DETECT, &image)
        };
        let asking: Vec<_> = (0..12).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let of = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert!(of(200) > 0 && of(429) > 0 && of(200) + of(429) == 12, "{} answered, {} refused", of(200), of(429));
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert!(refused.expect(429, "try again").head.contains("retry-after: 1"));
    assert_eq!(served.post(DETECT, &png(30, 30)).status, 200, "and then there is room again");
}

#[test]
fn other_sites_and_strangers_are_refused() {
    let (scratch, served) = golden("");
    let image = png(30, 30);
    served.ask("POST", DETECT, &["Host: evil.example"], &image).expect(421, "localhost");
    served.ask("GET", "/", &["Host: evil.example"], b"").expect(421, "localhost");
    served.ask("POST", DETECT, &["Origin: http://evil.example"], &image).expect(403, "other sites");
    let own = format!("Origin: http://{}", served.address);
    assert_eq!(served.ask("POST", DETECT, &[&own], &image).status, 200);

    let refused = |words: &str| scratch.run(&format!("serve {GOLDEN}/run --device cpu {words}"));
    refused("--bind 0.0.0.0:0").expect_error(&["0.0.0.0", "--token-file", "127.0.0.1"]);
    scratch.write("short", b"secret\n");
    refused("--token-file short").expect_error(&["6 characters", "16"]);
    refused("--token-file missing").expect_error(&["missing"]);
    refused(&format!("--bind {}", served.address)).expect_error(&["cannot listen", "--bind"]);

    scratch.write("token", b"0123456789abcdef0123456789abcdef\n");
    let words = format!("serve {GOLDEN}/run --bind 0.0.0.0:0 --token-file token --device cpu");
    let mut open = Served::of(scratch.command().args(words.split(' ')).stderr(Stdio::null()));
    open.address = open.address.replace("0.0.0.0", "127.0.0.1");
    for lines in [&[][..], &["Authorization: Bearer 0123456789abcdef0123456789abcdeX"], &["Authorization: Basic eA=="]]
    {
        let answer = open.ask("POST", DETECT, lines, &image);
        assert!(answer.expect(401, "token").head.contains("www-authenticate: bearer"));
        open.ask("GET", "/v1/models", lines, b"").expect(401, "token");
    }
    let token = ["Authorization: Bearer 0123456789abcdef0123456789abcdef", "Host: camera.example"];
    assert_eq!(open.ask("POST", DETECT, &token, &image).status, 200);
    // The page has no secrets, and asks for the token itself.
    assert_eq!((open.get("/").status, open.get("/healthz").status), (200, 200));
}

#[test]
fn a_stop_answers_what_is_in_hand() {
    let (_scratch, served) = golden("");
    let image = png(3000, 3000);
    let request = served.request("POST", DETECT, &[], &image);
    let (begun, rest) = request.split_at(request.len() - 1);
    let mut halfway = served.connect();
    halfway.write_all(begun).unwrap();
    let mut idle = served.connect();
    idle.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", served.address).as_bytes()).unwrap();
    idle.read_exact(&mut [0; 15]).unwrap();
    served.signal();
    let address = served.address.clone();
    crate::support::wait_for(|| TcpStream::connect(&address).is_err());
    halfway.write_all(rest).unwrap();
    let answer = Answer::read(&mut halfway);
    assert!(answer.json()["score"].is_number(), "{}", answer.status);
    assert_eq!(served.end().code(), Some(0));
}

#[test]
fn several_models_have_names() {
    let scratch = Scratch::new();
    for name in ["one", "two"] {
        fs::create_dir(scratch.path(name)).unwrap();
        fs::copy(Path::new(GOLDEN).join("run/model.safetensors"), scratch.path(name).join("model.safetensors"))
            .unwrap();
    }
    let refused = |words: &str, said: &[&str]| {
        scratch.run(&format!("serve {words} --device cpu --bind 127.0.0.1:0")).expect_error(said);
    };
    refused("one one/model.safetensors", &["two models are called one", "--name"]);
    refused("one two --name a", &["1 names for 2 models"]);
    refused("one --name a/b", &["'a/b'", "--name"]);
    refused("one --name ..", &["'..'"]);
    refused("absent", &["absent"]);
    let named = Served::start(&scratch, "one two/model.safetensors");
    let models = named.get("/v1/models").json();
    let names: Vec<&str> =
        models["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!((names, &models["answers"]), (vec!["one", "two"], &false.into()));
    assert_eq!((&models["models"][0]["net"], &models["models"][0]["side"]), (&"FCDD_CNN28".into(), &28.into()));
    for name in ["one", "two"] {
        assert_eq!(named.post(&format!("/v1/models/{name}/detect"), &png(30, 30)).status, 200);
    }
    named.post("/v1/models/one/answers?answer=good", &png(30, 30)).expect(404, "--answers DIR");
    let renamed = Served::start(&scratch, "one two --name left --name right");
    assert_eq!(renamed.post("/v1/models/right/detect", &png(30, 30)).status, 200);
}

#[test]
fn answers_are_a_folder_to_train_on() {
    let (scratch, served) = golden("--answers answers");
    let answer = |answer: &str, name: &str, image: &[u8]| {
        served.post(&format!("/v1/models/run/answers?answer={answer}&name={name}"), image)
    };
    for i in 0..9 {
        assert_eq!(answer("good", &format!("part%20{i}.jpg"), &png(32 + i, 32)).status, 200);
    }
    for i in 0..3 {
        let saved = answer("defect", &format!("..%2F..%2Fbad{i}.png"), &png_with(40, 32 + i, 200)).json();
        assert!(saved["saved"].as_str().unwrap().ends_with(&format!("-bad{i}.png")), "{saved}");
    }
    // One that was called good before.
    let changed = answer("defect", "part.png", &png(32, 32)).json();
    let kinds = |kind: &str| scratch.files(&format!("answers/run/train/{kind}"));
    assert_eq!((kinds("good").len(), kinds("defect").len(), scratch.files("answers/run").len()), (8, 4, 12));
    assert!(kinds("good").iter().all(|name| name.contains("-part_") && name.ends_with(".png")), "as its bytes are");
    assert_eq!(fs::read(scratch.path("answers").join(changed["saved"].as_str().unwrap())).unwrap(), png(32, 32));
    assert!(answer("none", "", &png(32, 32)).json()["saved"].is_null() && kinds("defect").len() == 3);
    answer("good", "x", b"no image").expect(400, "not a readable image");
    served.post("/v1/models/run/answers?name=x", &png(32, 32)).expect(400, "cannot be read: missing field");
    answer("great", "x", &png(32, 32)).expect(400, "great");
    assert_eq!(scratch.files("answers/run").len(), 11);
    scratch
        .run("train answers/run --labelled train --net FCDD_CNN32_S --side 32 --batch 4 --epochs 1 --out learned --device cpu")
        .expect_success();
    assert!(scratch.path("learned/model.safetensors").exists());
    // Another service would take back answers of this one.
    scratch
        .run(&format!("serve {GOLDEN}/run --bind 127.0.0.1:0 --answers answers"))
        .expect_error(&["answers", "in use"]);
}

#[test]
fn a_token_is_read_from_a_file_and_no_further_than_it_needs() {
    let scratch = Scratch::new();
    let refused = |file: &str, words: &[&str]| {
        scratch.run(&format!("serve {GOLDEN}/run --bind 127.0.0.1:0 --token-file {file}")).expect_error(words);
    };
    refused("/dev/zero", &["/dev/zero", "not a regular file"]);
    scratch.write("bytes", &[0xE9; 40]);
    refused("bytes", &["bytes", "is no text"]);
    scratch.write("short", b"a token\n");
    refused("short", &["16 characters"]);
}

/// Nothing of it is from elsewhere, or in its markup where the content policy forbids it.
#[test]
fn the_page_is_all_there() {
    let (_scratch, served) = golden("");
    let page = served.get("/");
    let html = String::from_utf8(page.body).unwrap();
    assert!(page.head.contains("text/html") && page.head.contains("content-security-policy: default-src 'none'; "));
    let linked: Vec<&str> = html.split(['"', '\'']).filter(|word| word.starts_with('/') && word.len() > 1).collect();
    assert!(linked.len() >= 3, "{linked:?}");
    let mut texts = vec![html.clone()];
    for path in ["/page.css", "/page.js", "/drawing.js", "/service.js", "/icon.svg"].iter().chain(&linked) {
        let file = served.get(path);
        assert!(file.status == 200 && !file.head.contains("octet-stream"), "{path}");
        texts.push(String::from_utf8(file.body).unwrap());
    }
    for text in texts {
        let elsewhere = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("http:") && !elsewhere.contains("https:") && !text.contains("style=\""), "{text}");
    }
    assert!(!html.contains(" onclick") && !html.contains("<style") && html.matches("<script").count() == 1);
}
