//! Faults of AWS, of the way to it, and of credentials.

use super::scenario::Scenario;
use super::{Injection, Row};
use crate::common::{Fault, On, Pages};

/// The injections of the section "AWS".
pub fn injections() -> Vec<Injection> {
    vec![
        Injection::new("HTTP 500", |row| everything(row, |w| w.fail(On::EVERYTHING, Fault::SERVICE_FAILURE))),
        Injection::new("AccessDenied on one user", |row| {
            Scenario::live(|w| w.fail(On::keys_of("bob"), Fault::ACCESS_DENIED)).run(row);
        }),
        Injection::new("repeated marker", |row| {
            Scenario::live(|w| w.fail(On::operation("ListUsers"), Fault::Paged(Pages::RepeatedMarker))).run(row);
        }),
        Injection::new("CRLF in the report", |row| {
            Scenario::report(|w| w.report(w.iam.account().credential_report().replace('\n', "\r\n"))).run(row);
        }),
    ]
}

/// The same fault for every request of the account. The other one gets its session.
fn everything(row: &Row, inject: fn(&super::scenario::World)) {
    Scenario::live(inject).run(row);
}
