//! Follows the markers of a list, and stops where it cannot be the list of an account.

use crate::source::SourceError;
use std::collections::HashSet;

/// More users than this need a quota that AWS has raised for the account (the default is 5,000).
const MOST_USERS: usize = 10_000;
/// The default quota is 2; no account is known to have more.
const MOST_KEYS_OF_A_USER: usize = 100;
/// IAM may return pages that are short or empty. So many empty ones in a row are a list that does not end.
const MOST_EMPTY_PAGES: usize = 100;

/// The largest number of users of a list: the account's `UsersQuota` (GetAccountSummary), at least 10,000; `None` if
/// the quota is not known.
pub fn most_users(quota: Option<u32>) -> usize {
    quota.map_or(0, |quota| usize::try_from(quota).unwrap_or(usize::MAX)).max(MOST_USERS)
}

/// The largest number of access keys of one user in a list: 100. The quota is 2 (IAM User Guide, "IAM and AWS STS
/// quotas").
pub fn most_keys() -> usize {
    MOST_KEYS_OF_A_USER
}

/// The pages of one list.
#[derive(Debug)]
pub struct Pages {
    operation: &'static str,
    /// Members that the account can hold.
    most: usize,
    members: usize,
    empty_in_a_row: usize,
    seen: HashSet<String>,
    marker: Option<String>,
}

impl Pages {
    /// Starts at the first page of a list of `operation` that holds at most `most` members.
    pub fn new(operation: &'static str, most: usize) -> Self {
        Pages { operation, most, members: 0, empty_in_a_row: 0, seen: HashSet::new(), marker: None }
    }

    /// The marker with which to request the next page; `None` for the first.
    pub fn marker(&self) -> Option<String> {
        self.marker.clone()
    }

    /// Records a page with so many members. Returns whether another page follows.
    ///
    /// # Errors
    /// [`SourceError::Pagination`] when `IsTruncated` and `Marker` contradict each other, when a marker is repeated,
    /// and when there are more members, or more empty pages, than a list of this account can have.
    pub fn next(&mut self, members: usize, truncated: bool, marker: Option<&str>) -> Result<bool, SourceError> {
        let marker = marker.filter(|m| !m.is_empty());
        self.members = self.members.saturating_add(members);
        self.empty_in_a_row = if members == 0 { self.empty_in_a_row.saturating_add(1) } else { 0 };
        if self.members > self.most {
            return Err(self.error(format!("it has more than {} members", self.most)));
        }
        let marker = match (truncated, marker) {
            (false, None) => return Ok(false),
            // Which of the two is wrong is not known, so the list may be cut off here.
            (false, Some(_)) => return Err(self.error("a page has a marker, but is not marked as truncated".into())),
            (true, None) => return Err(self.error("a page is marked as truncated, but has no marker".into())),
            (true, Some(marker)) => marker.to_owned(),
        };
        if self.empty_in_a_row > MOST_EMPTY_PAGES {
            return Err(self.error(format!("more than {MOST_EMPTY_PAGES} empty pages in a row")));
        }
        if !self.seen.insert(marker.clone()) {
            return Err(self.error(format!("a marker came back after {} pages", self.seen.len())));
        }
        self.marker = Some(marker);
        Ok(true)
    }

    fn error(&self, message: String) -> SourceError {
        SourceError::Pagination { operation: self.operation, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<bool, SourceError>) -> String {
        match result {
            Err(error @ SourceError::Pagination { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn markers_lead_to_the_end() {
        let mut pages = Pages::new("ListUsers", 10);
        assert_eq!(pages.marker(), None);
        assert_eq!(pages.next(1, true, Some("a")), Ok(true));
        assert_eq!(pages.marker().as_deref(), Some("a"));
        assert_eq!(pages.next(0, true, Some("b")), Ok(true), "an empty page need not be the last");
        assert_eq!(pages.next(9, false, None), Ok(false));
        assert_eq!(Pages::new("ListUsers", 10).next(0, false, Some("")), Ok(false), "an empty marker is none");
    }

    #[test]
    fn a_marker_and_is_truncated_belong_together() {
        assert!(message(Pages::new("ListUsers", 10).next(1, false, Some("a"))).contains("not marked as truncated"));
        assert!(message(Pages::new("ListUsers", 10).next(1, true, None)).contains("no marker"));
        assert!(message(Pages::new("ListUsers", 10).next(1, true, Some(""))).contains("no marker"));
    }

    #[test]
    fn a_marker_that_comes_back_is_an_error() {
        let mut pages = Pages::new("ListUsers", 10);
        for marker in ["a", "b"] {
            assert_eq!(pages.next(1, true, Some(marker)), Ok(true));
        }
        assert!(message(pages.next(1, true, Some("a"))).contains("after 2 pages"));
    }

    #[test]
    fn a_list_is_bounded_by_what_the_account_can_hold() {
        let mut pages = Pages::new("ListUsers", 10);
        assert_eq!(pages.next(10, true, Some("a")), Ok(true));
        assert!(message(pages.next(1, false, None)).contains("more than 10 members"));
        assert!(message(Pages::new("ListUsers", 10).next(usize::MAX, false, None)).contains("more than 10 members"));
        assert_eq!(most_users(None), 10_000);
        assert_eq!(most_users(Some(5_000)), 10_000);
        assert_eq!(most_users(Some(20_000)), 20_000);
    }

    #[test]
    fn empty_pages_are_bounded_in_a_row() {
        let mut pages = Pages::new("ListUsers", 1000);
        let mut marker = 0;
        let mut page = |pages: &mut Pages, members| {
            marker += 1;
            pages.next(members, true, Some(&format!("marker-{marker}")))
        };
        for _ in 0..5 {
            for _ in 0..MOST_EMPTY_PAGES {
                assert_eq!(page(&mut pages, 0), Ok(true));
            }
            assert_eq!(page(&mut pages, 1), Ok(true));
        }
        for _ in 0..MOST_EMPTY_PAGES {
            assert_eq!(page(&mut pages, 0), Ok(true));
        }
        assert!(message(page(&mut pages, 0)).contains("empty pages"));
    }
}
