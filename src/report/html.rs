//! One self-contained page: styles, images and plots within it, no scripts, no network. All text is escaped by [`maud`], control
//! characters are spelt out.

use std::io::Read;

use crate::printable::escaped_lines;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, Render, html};

/// A whole page: a title, what it is about, and sections.
pub(crate) fn page(title: &str, lead: &Markup, sections: &[Markup]) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (title) }
                    (lead)
                    @for section in sections { (section) }
                }
            }
        }
    };
    // Names of files and folders are other people's, and a page is read as text too.
    escaped_lines(&page.into_string())
}

/// How pages begin, whatever they are about.
const BEGIN: &str = "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>";

/// Whether a file is such a page.
pub(crate) fn is_page(file: impl Read) -> bool {
    let mut begin = Vec::new();
    file.take(BEGIN.len() as u64).read_to_end(&mut begin).is_ok() && begin == BEGIN.as_bytes()
}

/// A part of the page under a heading.
pub(crate) fn section(heading: &str, body: &Markup) -> Markup {
    html! { section { h2 { (heading) } (body) } }
}

/// Figures in large type, each with its name.
pub(crate) fn figures(figures: &[(String, String)]) -> Markup {
    html! {
        dl.figures { @for (name, value) in figures { div { dt { (name) } dd { (value) } } } }
    }
}

/// Names and what they are, one pair a row.
pub(crate) fn pairs(rows: &[(String, impl Render)]) -> Markup {
    html! {
        div.scroll { table.pairs { tbody { @for (name, value) in rows { tr { th scope="row" { (name) } td { (value) } } } } } }
    }
}

/// A table of numbers under a header.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        div.scroll {
            table.numbers {
                thead { tr { @for name in header { th scope="col" { (name) } } } }
                tbody { @for row in rows { tr { @for cell in row { td { (cell) } } } } }
            }
        }
    }
}

/// A PNG `width` pixels wide at its own size, which a narrow screen scrolls to see all of; `alt` for those who cannot see it.
pub(crate) fn image_figure(png: &[u8], width: u32, alt: &str, caption: &str) -> Markup {
    html! {
        figure.image style={ "--width: " (width) "px" } {
            div.scroll tabindex="0" { img src={ "data:image/png;base64," (STANDARD.encode(png)) } alt=(alt); }
            div.hint { "↔ Scroll sideways to see all of it." }
            figcaption { (caption) }
        }
    }
}

/// Plots side by side where there is room. Each is (SVG, `alt`, caption).
pub(crate) fn plots(plots: &[(String, String, String)]) -> Markup {
    html! {
        div.plots {
            @for (svg, alt, caption) in plots {
                figure { div.plot role="img" aria-label=(alt) { (PreEscaped(svg)) } figcaption { (caption) } }
            }
        }
    }
}

/// Light paper, one column, system letters. Images fit into the column of a wide screen; elsewhere, the hint to scroll has a height
/// only below images that are wider than their column.
const STYLE: &str = "
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f5f6; color: #222; font: 16px/1.55 system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif; }
main { max-width: 1232px; margin: 0 auto; padding: 28px 32px 64px; background: #fff; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 12px; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 44px 0 12px; padding-top: 16px; border-top: 1px solid #ddd; }
p { max-width: 46em; margin: 0 0 12px; overflow-wrap: anywhere; }
.notice { padding: 10px 14px; background: #fff6df; border-left: 4px solid #e0a100; }
.figures { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0; }
.figures div { flex: 0 1 200px; min-width: 150px; padding: 12px 16px; background: #f4f6f8; border-radius: 8px; }
.figures dt { color: #555; font-size: .9rem; }
.figures dd { margin: 0; font-size: 1.6rem; font-variant-numeric: tabular-nums; }
.plots { display: flex; flex-wrap: wrap; gap: 12px 24px; }
.plots figure { flex: 0 1 540px; min-width: 0; }
.plot svg { display: block; width: 100%; height: auto; }
figure { margin: 0 0 28px; }
figcaption { color: #555; font-size: .92rem; max-width: 50em; margin-top: 6px; }
.scroll { overflow-x: auto; }
.scroll img { display: block; max-width: none; }
.image { container-type: inline-size; }
.hint { overflow: hidden; max-height: clamp(0px, (var(--width) - 100cqw) * 99, 1.6em); color: #555; font-size: .92rem; }
table { border-collapse: collapse; font-size: .95rem; }
th, td { padding: 5px 16px 5px 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e8e8e8; }
.pairs th { font-weight: 600; white-space: nowrap; }
.pairs td { overflow-wrap: anywhere; min-width: 10em; }
.numbers th, .numbers td { text-align: right; padding: 4px 0 4px 22px; font-variant-numeric: tabular-nums; }
.numbers th { max-width: 14em; }
.numbers th:first-child, .numbers td:first-child { padding-left: 4px; text-align: left; }
summary { cursor: pointer; margin-bottom: 10px; }
pre { padding: 12px 16px; background: #f4f6f8; border-radius: 8px; white-space: pre-wrap; overflow-wrap: anywhere; }
code { font: .92em/1.5 ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; }
@media (min-width: 1180px) { .scroll img { max-width: 100%; } .hint { display: none; } }
@media (max-width: 640px) { main { padding: 20px 16px 48px; } h1 { font-size: 1.5rem; } .pairs th { white-space: normal; } }
@media print { body { background: #fff; } .scroll img { max-width: 100%; } .hint { display: none; } }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        let hostile = "\"><script>alert(1)</script>\u{1b}[2J<img src=x onerror='&";
        let both = (hostile.to_string(), hostile.to_string());
        let body = html! {
            (figures(std::slice::from_ref(&both)))
            (pairs(&[both]))
            (table(&[hostile], &[vec![hostile.to_string()]]))
            (image_figure(b"png", 1, hostile, hostile))
            (plots(&[("<svg></svg>".into(), hostile.into(), hostile.into())]))
        };
        let page = page(hostile, &html! { p { (hostile) } }, &[section(hostile, &body)]);
        assert!(!page.contains("<script") && !page.contains("<img src=x"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;").count(), 14);
        assert!(!page.contains('\u{1b}') && page.contains("\\u{1b}[2J"), "{page}");
        assert_eq!(page.matches("<img").count(), 1);
    }

    #[test]
    fn a_page_needs_nothing_else() {
        let page = page("t", &html! {}, &[image_figure(&[1, 2, 3, 4], 1, "a", "c")]);
        assert!(
            page.starts_with("<!DOCTYPE html>") && page.contains("src=\"data:image/png;base64,AQIDBA==\" alt=\"a\"")
        );
        assert!(page.contains("style=\"--width: 1px\""), "what the hint to scroll depends on");
        for outside in ["http:", "https:", "url(", "<link", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
