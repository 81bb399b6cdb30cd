//! Parses IAM's credential report (IAM User Guide, "Generate credential reports for your AWS account"). Columns are
//! found by name; any inconsistency is an error that names row and column, never a part of a report.

use crate::model::{
    AccessKey, Account, Arn, Collector, KeyStatus, KeysResult, LastUsed, ListedUser, Listing, Timestamp, UserName,
    count_active,
};
use crate::policy::evaluate::ROOT;
use csv::StringRecord;
use std::collections::HashSet;
use std::sync::Arc;

/// A parsed report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialReport {
    /// The account that the ARNs name; its display name is empty.
    pub account: Account,
    /// All users but the root user.
    pub listing: Listing,
    /// The number of active keys of the root user; `None` without a row of it.
    pub root_active_keys: Option<u32>,
}

/// What is wrong with a report, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// There is nothing but white space.
    #[error("it is empty")]
    Empty,
    /// The text is in another format, which is named.
    #[error("it is not a credential report: {0}")]
    NotAReport(String),
    /// A required column, which is named, is missing.
    #[error("the header lacks the column {0:?}")]
    MissingColumn(&'static str),
    /// Two columns have the same name.
    #[error("the header has the column {0:?} twice")]
    RepeatedColumn(String),
    /// A cell has an unexpected value.
    #[error("row {row}, column {column:?}: {message}")]
    Cell {
        /// The number of the row; the header is row 1.
        row: u64,
        /// The name of the column.
        column: String,
        /// What is wrong with the value.
        message: String,
    },
    /// A row as a whole is wrong.
    #[error("row {row}: {message}")]
    Row {
        /// The number of the row; the header is row 1.
        row: u64,
        /// What is wrong with the row.
        message: String,
    },
    /// There is a header and nothing else.
    #[error("it has a header but no rows; even an account without users has one of the root user ({ROOT})")]
    NoRows,
}

/// The columns of one key.
struct KeyColumns {
    active: usize,
    last_rotated: Option<usize>,
    last_used: Option<usize>,
}

struct Columns {
    user: usize,
    arn: usize,
    created: Option<usize>,
    additional: Option<usize>,
    keys: Vec<KeyColumns>,
    /// Dates of certificates: checked only, because the last column is one of them, and a truncated report often ends in it.
    certificates: Vec<usize>,
    names: StringRecord,
}

/// Parses a report as AWS writes it. `at` is the time at which the report was generated.
///
/// # Errors
/// [`ReportError`] for any inconsistency: every row must have the header's length, every boolean be one, every user
/// occur once, and all ARNs be of one account.
pub fn parse(bytes: &[u8], at: Timestamp, collector: Collector) -> Result<CredentialReport, ReportError> {
    let text = decode(bytes)?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let columns = Columns::find(reader.headers().map_err(|e| csv_error(&e))?)?;

    let mut account: Option<Account> = None;
    let mut root_active_keys = None;
    let mut users = Vec::new();
    let mut paths = HashSet::new();
    let mut record = StringRecord::new();
    let mut row = 1;
    while reader.read_record(&mut record).map_err(|e| csv_error(&e))? {
        row += 1;
        if record.len() != columns.names.len() {
            record = columns.mended(&record).ok_or_else(|| ReportError::Row {
                row,
                message: format!("{} columns, the header has {}", record.len(), columns.names.len()),
            })?;
        }
        let read = RowReader { columns: &columns, record: &record, row };
        let arn = read.arn(&mut account)?;
        let keys = read.keys()?;
        for &column in &columns.certificates {
            read.rotated(column)?;
        }
        if record[columns.user] == *ROOT {
            if root_active_keys.replace(count_active(&keys) as u32).is_some() {
                return Err(read.cell(columns.user, "a second row of the root user".into()));
            }
            continue;
        }
        users.push(read.user(&arn, keys, at, &mut paths)?);
    }
    let Some(account) = account else { return Err(ReportError::NoRows) };
    check_quotes(text, row)?;
    let listing = Listing::new(collector, at, users)
        .map_err(|e| ReportError::Row { row: row_of(text, &e.0), message: e.to_string() })?;
    Ok(CredentialReport { account, listing, root_active_keys })
}

/// The text, if it is UTF-8 and can be a report.
fn decode(bytes: &[u8]) -> Result<&str, ReportError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let row = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() as u64 + 1;
        ReportError::Row { row, message: format!("not UTF-8 (byte {} of the report)", e.valid_up_to() + 1) }
    })?;
    match text.trim_start().chars().next() {
        None => Err(ReportError::Empty),
        Some('<') => Err(ReportError::NotAReport("it looks like HTML or XML".into())),
        Some('{' | '[') => Err(ReportError::NotAReport("it looks like JSON".into())),
        Some(_) => Ok(text),
    }
}

impl Columns {
    fn find(header: &StringRecord) -> Result<Columns, ReportError> {
        let names: StringRecord = header.iter().map(str::trim).collect();
        let optional = |name: &str| names.iter().position(|n| n == name);
        let required = |name: &'static str| optional(name).ok_or(ReportError::MissingColumn(name));
        for (i, name) in names.iter().enumerate() {
            if names.iter().take(i).any(|n| n == name) {
                return Err(ReportError::RepeatedColumn(name.to_owned()));
            }
        }
        let (user, arn) = (required("user")?, required("arn")?);
        required("access_key_1_active")?;
        required("access_key_2_active")?;
        // Two keys are IAM's limit today; should a report ever have a third column, it counts.
        let keys = (1..)
            .map_while(|n| {
                Some(KeyColumns {
                    active: optional(&format!("access_key_{n}_active"))?,
                    last_rotated: optional(&format!("access_key_{n}_last_rotated")),
                    last_used: optional(&format!("access_key_{n}_last_used_date")),
                })
            })
            .collect();
        Ok(Columns {
            user,
            arn,
            created: optional("user_creation_time"),
            additional: optional("additional_credentials_info"),
            keys,
            certificates: (0..names.len())
                .filter(|&i| names[i].starts_with("cert_") && names[i].ends_with("_last_rotated"))
                .collect(),
            names,
        })
    }
}

impl Columns {
    /// Repairs a row that is too long because the commas in its user name (which IAM allows), and so in its ARN, are not
    /// quoted. A name has no colon, so the ARN begins where a cell begins with `arn:`.
    fn mended(&self, record: &StringRecord) -> Option<StringRecord> {
        let surplus = record.len().checked_sub(self.names.len())?;
        let arn_from = record.iter().position(|cell| cell.starts_with("arn:"))?;
        let arn_to = (self.arn + surplus + 1).max(arn_from + 1);
        if (self.user, self.arn) != (0, 1) || arn_from == 0 || arn_from > self.arn + surplus {
            return None;
        }
        let joined = |from: usize, to: usize| record.iter().skip(from).take(to - from).collect::<Vec<_>>().join(",");
        let (name, arn) = (joined(0, arn_from), joined(arn_from, arn_to));
        Arn::parse(&arn)?.path_of(&name)?;
        Some([name.as_str(), &arn].into_iter().chain(record.iter().skip(arn_to)).collect())
    }
}

struct RowReader<'a> {
    columns: &'a Columns,
    record: &'a StringRecord,
    /// The header is row 1, as in an editor.
    row: u64,
}

impl RowReader<'_> {
    fn cell(&self, column: usize, message: String) -> ReportError {
        ReportError::Cell { row: self.row, column: self.columns.names[column].to_owned(), message }
    }

    /// The row's ARN, whose account has to be that of the rows before.
    fn arn(&self, account: &mut Option<Account>) -> Result<Arn<'_>, ReportError> {
        let text = &self.record[self.columns.arn];
        let arn = Arn::parse(text)
            .ok_or_else(|| self.cell(self.columns.arn, format!("{text:?} is not the ARN of an IAM user or root")))?;
        let first = account.get_or_insert_with(|| Account {
            id: arn.account,
            name: String::new(),
            partition: arn.partition.clone(),
        });
        if first.id != arn.account {
            let message = format!("the row is of account {}, the rows before of account {}", arn.account, first.id);
            return Err(self.cell(self.columns.arn, message));
        }
        Ok(arn)
    }

    fn user(
        &self,
        arn: &Arn<'_>,
        keys: Vec<AccessKey>,
        observed_at: Timestamp,
        paths: &mut HashSet<Arc<str>>,
    ) -> Result<ListedUser, ReportError> {
        let name = &self.record[self.columns.user];
        if name.is_empty() {
            return Err(self.cell(self.columns.user, "empty user name".into()));
        }
        let path = arn.path_of(name).ok_or_else(|| {
            let text = &self.record[self.columns.arn];
            self.cell(self.columns.arn, format!("{text:?} is not the ARN of user {name:?}"))
        })?;
        // The users of a path share its text.
        let path = paths.get(path).cloned().unwrap_or_else(|| path.into());
        paths.insert(Arc::clone(&path));
        let created = match self.columns.created {
            Some(column) => self.date(column)?,
            None => None,
        };
        let has_more = self.columns.additional.is_some_and(|column| !is_absent(self.record[column].trim()));
        let keys = if has_more { KeysResult::partial(keys) } else { KeysResult::complete(keys) };
        Ok(ListedUser { name: UserName::new(name), path, created, observed_at, keys })
    }

    fn keys(&self) -> Result<Vec<AccessKey>, ReportError> {
        let mut keys = Vec::with_capacity(self.columns.keys.len());
        for columns in &self.columns.keys {
            let active = self.boolean(columns.active)?;
            let last_rotated = columns.last_rotated.map(|c| self.rotated(c)).transpose()?.flatten();
            // "last rotated" is kept by an inactive key and N/A without a key: only it distinguishes the two.
            if !active && last_rotated.is_none() {
                continue;
            }
            let last_used = match columns.last_used {
                None => LastUsed::Unknown,
                Some(column) => self.last_used(column)?,
            };
            let status = if active { KeyStatus::Active } else { KeyStatus::Inactive };
            keys.push(AccessKey::new(None, status, last_rotated, last_used));
        }
        Ok(keys)
    }

    fn boolean(&self, column: usize) -> Result<bool, ReportError> {
        let value = self.record[column].trim();
        if value.eq_ignore_ascii_case("true") {
            Ok(true)
        } else if value.eq_ignore_ascii_case("false") {
            Ok(false)
        } else {
            Err(self.cell(column, format!("{value:?} is neither true nor false")))
        }
    }

    fn date(&self, column: usize) -> Result<Option<Timestamp>, ReportError> {
        let value = self.record[column].trim();
        if is_absent(value) || value == "not_supported" {
            return Ok(None);
        }
        let wrong = |_| self.cell(column, format!("{value:?} is not a date such as 2026-01-31T12:00:00+00:00"));
        value.parse().map(Some).map_err(wrong)
    }

    /// AWS always writes something here, if only `N/A`.
    fn rotated(&self, column: usize) -> Result<Option<Timestamp>, ReportError> {
        if self.record[column].trim().is_empty() {
            return Err(self.cell(column, "it is empty; AWS writes a date or N/A".into()));
        }
        self.date(column)
    }

    /// `N/A` is "never, or not since 2015-04-22"; `no_information` is no answer.
    fn last_used(&self, column: usize) -> Result<LastUsed, ReportError> {
        match self.record[column].trim() {
            "no_information" | "not_supported" | "" => Ok(LastUsed::Unknown),
            "N/A" => Ok(LastUsed::Never),
            _ => Ok(self.date(column)?.map_or(LastUsed::Unknown, LastUsed::At)),
        }
    }
}

fn is_absent(value: &str) -> bool {
    matches!(value, "" | "N/A" | "no_information")
}

/// A quotation mark that is never closed makes one cell of the rest of the file, which the csv crate accepts.
fn check_quotes(text: &str, row: u64) -> Result<(), ReportError> {
    if text.bytes().filter(|b| *b == b'"').count() % 2 == 1 {
        return Err(ReportError::Row { row, message: "a quotation mark is not closed".into() });
    }
    Ok(())
}

/// The row of the last user of that name, for an error message.
fn row_of(text: &str, folded_name: &str) -> u64 {
    let begins = |line: &str| {
        let name = line.strip_prefix('"').and_then(|l| l.split('"').next()).or_else(|| line.split(',').next());
        name.is_some_and(|n| n.eq_ignore_ascii_case(folded_name))
    };
    text.lines().enumerate().filter(|(_, l)| begins(l)).last().map_or(0, |(i, _)| i as u64 + 1)
}

fn csv_error(error: &csv::Error) -> ReportError {
    ReportError::Row { row: error.position().map_or(1, csv::Position::line), message: error.to_string() }
}

#[cfg(test)]
mod tests;
