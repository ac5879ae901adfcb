//! Text in columns.

/// Formats rows as lines, indented by `indent` spaces, in columns two spaces apart and as wide as their widest cell.
/// The last column may be long, because no column follows it.
pub(super) fn columns<const N: usize>(indent: usize, rows: &[[String; N]]) -> String {
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = " ".repeat(indent);
        for (cell, width) in row.iter().zip(&widths) {
            // Columns without any content are left out.
            if *width > 0 {
                line += &format!("{cell:width$}  ");
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_where_their_text_does() {
        let rows = [["a", "", "1"], ["long", "", ""], ["é", "", "3"]].map(|r| r.map(String::from));
        assert_eq!(columns(2, &rows), "  a     1\n  long\n  é     3\n");
    }
}
