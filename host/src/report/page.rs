//! One HTML page that needs nothing else: pictures and style are part of it.

use std::fmt::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{
    Bars, EntropyColumn, Error, LayerWeights, Matrix, Panel, bars, curves, entropies, matrix,
    memory,
};
use crate::durable;
use crate::summary::MemoryPlan;

/// A part of the page.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Above it.
    pub title: String,
    /// What is to be seen, and how to read it.
    pub note: String,
    /// One below the other, or beside each other where there is room.
    pub figures: Vec<Figure>,
}

/// Something to look at.
#[derive(Debug, Clone, PartialEq)]
pub enum Figure {
    /// Curves.
    Curves(Panel),
    /// The distribution of `H'` over the epochs, with lambda_l and lambda_u.
    Entropies(Vec<EntropyColumn>, [f64; 2]),
    /// Numbers to be compared.
    Bars(Bars),
    /// How often what was taken for what.
    Matrix(Matrix),
    /// What needs a model's memory.
    Memory(MemoryPlan),
    /// Weights of a layer.
    Weights(LayerWeights),
    /// A picture of pixels.
    Pixels {
        /// Below it.
        caption: String,
        /// The file.
        png: Vec<u8>,
    },
    /// Columns of text; numbers are aligned to the right.
    Table {
        /// One per column; empty for a table without.
        header: Vec<String>,
        /// Cells of every row.
        rows: Vec<Vec<String>>,
    },
}

/// Writes the page.
///
/// # Errors
/// When a picture cannot be drawn or the file cannot be written.
pub fn write_page(path: &Path, title: &str, lead: &str, sections: &[Section]) -> Result<(), Error> {
    let page = page(title, lead, sections).map_err(|error| Error::picture(path, error))?;
    durable::write(path, page.as_bytes()).map_err(|error| Error::picture(path, error))
}

type Drawn<T> = Result<T, Box<dyn std::error::Error>>;

fn page(title: &str, lead: &str, sections: &[Section]) -> Drawn<String> {
    let mut page = String::new();
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{}</style></head><body><main>\n\
         <h1>{title}</h1>\n<p class=\"lead\">{}</p>\n",
        include_str!("page.css"),
        escaped(lead),
        title = escaped(title),
    )?;
    for section in sections {
        let (title, note) = (escaped(&section.title), escaped(&section.note));
        write!(
            page,
            "<section><h2>{title}</h2>\n<p>{note}</p>\n<div class=\"figures\">\n"
        )?;
        for figure in &section.figures {
            page.push_str(&draw(figure)?);
        }
        page.push_str("</div></section>\n");
    }
    page.push_str("</main></body></html>\n");
    Ok(page)
}

fn draw(figure: &Figure) -> Drawn<String> {
    Ok(match figure {
        Figure::Curves(panel) => framed("chart", &curves::figure(panel)?, ""),
        Figure::Entropies(columns, bounds) => {
            framed("chart", &entropies::figure(columns, *bounds)?, "")
        }
        Figure::Bars(bars) => framed("chart", &bars::figure(bars)?, ""),
        Figure::Matrix(matrix) => framed("chart", &matrix::figure(matrix)?, ""),
        Figure::Memory(plan) => framed("wide", &memory::figure(plan)?, ""),
        Figure::Weights(layer) => {
            let caption = format!("{}, {} bits", layer.name, layer.bits);
            framed("small", &layer.figure()?, &caption)
        }
        Figure::Pixels { caption, png } => {
            let data = STANDARD.encode(png);
            let alt = escaped(caption);
            let image = format!("<img alt=\"{alt}\" src=\"data:image/png;base64,{data}\">");
            framed("pixels", &image, caption)
        }
        Figure::Table { header, rows } => table(header, rows),
    })
}

fn framed(class: &str, content: &str, caption: &str) -> String {
    let caption = escaped(caption);
    format!("<figure class=\"{class}\">{content}<figcaption>{caption}</figcaption></figure>\n")
}

fn table(header: &[String], rows: &[Vec<String>]) -> String {
    let cell = |tag: &str, text: &String| {
        let number = text.starts_with(|first: char| first.is_ascii_digit() || first == '-');
        let class = if number { " class=\"number\"" } else { "" };
        format!("<{tag}{class}>{}</{tag}>", escaped(text))
    };
    let row = |tag: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|text| cell(tag, text)).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let head = if header.is_empty() {
        String::new()
    } else {
        format!("<thead>{}</thead>", row("th", header))
    };
    let body: String = rows.iter().map(|cells| row("td", cells)).collect();
    format!("<div class=\"table\"><table>{head}<tbody>\n{body}</tbody></table></div>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_escaped_and_needs_no_network() {
        let sections = [Section {
            title: "a < b".into(),
            note: "x & y".into(),
            figures: vec![
                Figure::Pixels {
                    caption: "\"quoted\"".into(),
                    png: vec![1, 2, 3],
                },
                Figure::Table {
                    header: vec!["key".into()],
                    rows: vec![vec!["<script>".into()], vec!["12 %".into()]],
                },
            ],
        }];
        let page = page("run", "lead", &sections).unwrap();
        for part in [
            "<h2>a &lt; b</h2>",
            "x &amp; y",
            "data:image/png;base64,AQID",
            "&quot;quoted&quot;",
            "&lt;script&gt;",
            "<td class=\"number\">12 %</td>",
            "prefers-color-scheme: dark",
        ] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
        for outside in ["http:", "https:", "<script", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
