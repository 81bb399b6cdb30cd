//! Arranges the rows of the table: columns, or on a narrow terminal the fields of a user below each other.

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};

pub(super) const COLUMNS: [&str; 6] = ["USER", "OWNER", "STATUS", "ACCESS KEYS", "SINCE", "WHAT TO DO"];

/// The index of the column `OWNER`.
const OWNER: usize = 1;

/// The cells of one line, in the order of [`COLUMNS`].
pub(super) type Row = [String; COLUMNS.len()];

/// With fewer columns, words in cells are torn apart.
const NARROWEST_TABLE: u16 = 100;

/// One line below the header; white space separates the columns.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// The rows of each user, as wide as needed if the width is not known.
pub(super) fn arrange(users: Vec<Vec<Row>>, width: Option<u16>) -> String {
    if users.is_empty() {
        return String::new();
    }
    match width {
        Some(width) if width < NARROWEST_TABLE => stacked(&users, width),
        _ => columns(users, width),
    }
}

fn columns(users: Vec<Vec<Row>>, width: Option<u16>) -> String {
    let mut table = Table::new();
    // The column of owners is left out where there is none.
    let shown: Vec<usize> =
        (0..COLUMNS.len()).filter(|i| *i != OWNER || users.iter().any(|u| !u[0][*i].is_empty())).collect();
    let cells = |row: Row| shown.iter().map(|i| row[*i].clone()).collect::<Vec<_>>();
    table.load_style(STYLE).set_header(cells(COLUMNS.map(String::from)));
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if let Some(width) = width {
        table.set_width(width);
    }
    table.add_rows(users.into_iter().flatten().map(cells));
    table.trim_fmt() + "\n"
}

/// A line per field, wrapped at the terminal's width, and an empty line after each user.
fn stacked(users: &[Vec<Row>], width: u16) -> String {
    let mut out = String::new();
    for rows in users {
        let mut table = Table::new();
        table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        for (name, value) in rows.iter().flat_map(|row| COLUMNS.iter().zip(row)).filter(|(_, value)| !value.is_empty())
        {
            // Several keys start on a line of their own.
            let separator = if value.contains('\n') { '\n' } else { ' ' };
            table.add_row([format!("{name}:{separator}{value}")]);
        }
        if let Some(column) = table.column_mut(0) {
            column.set_padding((0, 0));
        }
        out.push_str(&table.trim_fmt());
        out.push_str("\n\n");
    }
    out
}
