//! A table without lines, whose columns are as wide as their widest cell.

use crate::printer::Paint;

/// Rows under a heading. Cells must be safe and unpainted.
#[derive(Debug)]
pub struct Table {
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(heading: &[&str]) -> Self {
        Self {
            heading: heading.iter().map(ToString::to_string).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as text without a final line end.
    pub fn render(&self, paint: Paint) -> String {
        let columns = self.heading.len();
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                std::iter::once(&self.heading)
                    .chain(&self.rows)
                    .filter_map(|row| row.get(column))
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut lines = vec![paint.bold(line(&self.heading, &widths))];
        lines.extend(self.rows.iter().map(|row| line(row, &widths)));
        lines.join("\n")
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        text += cell;
        text.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["ID", "STATE"]);
        table.row(vec!["größer".into(), "ready".into()]);
        table.row(vec!["a".into(), "busy".into()]);
        assert_eq!(
            table.render(Paint::new(false)),
            "ID      STATE\ngrößer  ready\na       busy"
        );
    }
}
