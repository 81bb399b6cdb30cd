//! Basic authentication.
//!
//! A password is compared with its bcrypt hash on a thread of its own, see [`queue`]. The last right password of each
//! user is remembered as a digest with a secret of this process, so that scrapes with it cost nothing and never wait.
//! A refusal costs as much as the most expensive hash of the configuration, whether there is such a user or not: its
//! duration reveals nothing about names.

mod credentials;
mod queue;

use super::connections::Client;
use crate::config::web::PasswordHash;
use credentials::Credentials;
use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use queue::Queue;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

pub(super) use queue::Full;

/// bcrypt uses so many bytes of a password, and Go's comparison ignores the rest as well.
const LONGEST_PASSWORD: usize = 72;

/// A salted digest of a user's name, hash and password.
type Fingerprint = [u8; 32];

/// The users of a configuration.
pub(super) struct Users {
    users: BTreeMap<String, Arc<User>>,
    /// The lowest and the highest cost of their hashes.
    lowest_cost: u32,
    highest_cost: u32,
}

struct User {
    hash: PasswordHash,
    /// Of the last password that was right.
    right: Mutex<Option<Fingerprint>>,
}

impl User {
    fn right(&self) -> Option<Fingerprint> {
        *self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_right(&self, fingerprint: Fingerprint) {
        *self.right.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint);
    }
}

impl Users {
    /// `None` without users: then there is no authentication. Passwords of users who are the same before and after a
    /// reload stay known.
    pub(super) fn new(hashes: &BTreeMap<String, PasswordHash>, previous: Option<&Users>) -> Option<Self> {
        let (lowest_cost, highest_cost) =
            (hashes.values().map(PasswordHash::cost).min()?, hashes.values().map(PasswordHash::cost).max()?);
        let user = |(name, hash): (&String, &PasswordHash)| {
            let same = previous.and_then(|p| p.users.get(name)).filter(|u| u.hash.expose() == hash.expose());
            let new = || Arc::new(User { hash: hash.clone(), right: Mutex::default() });
            (name.clone(), same.map_or_else(new, Arc::clone))
        };
        Some(Users { users: hashes.iter().map(user).collect(), lowest_cost, highest_cost })
    }
}

/// Why a request is not authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It has no credentials, or wrong ones.
    Unauthorized,
    /// Too many passwords wait to be compared.
    Full(Full),
}

/// Compares passwords.
pub(super) struct Authenticator {
    secret: Zeroizing<[u8; 32]>,
    queue: Arc<Queue>,
}

impl Authenticator {
    /// With a new random secret.
    pub(super) fn new() -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
        random.fill(&mut secret[..]).expect("the operating system has random numbers");
        Authenticator { secret, queue: Arc::default() }
    }

    /// Whether the request has the name and password of a user.
    ///
    /// # Errors
    /// [`Refused`] if it has not, or if that cannot be found out soon.
    pub(super) async fn authenticate(&self, users: &Users, client: Client, headers: &HeaderMap) -> Result<(), Refused> {
        let credentials = Credentials::of(headers).ok_or(Refused::Unauthorized)?;
        let password = credentials.password();
        let password = password.get(..LONGEST_PASSWORD).unwrap_or(password);
        let user = std::str::from_utf8(credentials.name()).ok().and_then(|name| users.users.get(name));
        let hash = user.map_or("", |user| user.hash.expose());
        let fingerprint = self.fingerprint(credentials.name(), hash.as_bytes(), password);
        let attempt = Attempt {
            user: user.map(Arc::clone),
            costs: users.lowest_cost..users.highest_cost,
            password: Zeroizing::new(password.to_vec()),
            fingerprint,
        };
        if attempt.is_known() {
            return Ok(());
        }
        match self.queue.run(client, move || attempt.compare(&mut rounds)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refused::Unauthorized),
            Err(full) => Err(Refused::Full(full)),
        }
    }

    fn fingerprint(&self, name: &[u8], hash: &[u8], password: &[u8]) -> Fingerprint {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret[..]).expect("a key can have any length");
        for part in [name, hash, password] {
            // With the lengths, no two of them run together.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// A password to compare.
struct Attempt {
    /// `None` for a name that does not exist.
    user: Option<Arc<User>>,
    costs: Range<u32>,
    password: Zeroizing<Vec<u8>>,
    fingerprint: Fingerprint,
}

impl Attempt {
    /// Whether this was the user's right password last time.
    fn is_known(&self) -> bool {
        self.user.as_ref().is_some_and(|user| user.right() == Some(self.fingerprint))
    }

    /// Whether the password is right; `waste` takes the time of a comparison with this cost.
    fn compare(&self, waste: &mut dyn FnMut(&[u8], u32)) -> bool {
        // Another request with the same password may have been first.
        if self.is_known() {
            return true;
        }
        let cost = match &self.user {
            Some(user) => {
                // A hash that cannot be parsed is refused when the configuration is loaded.
                if bcrypt::verify(&self.password[..], user.hash.expose()).unwrap_or(false) {
                    user.set_right(self.fingerprint);
                    return true;
                }
                user.hash.cost()
            }
            None => {
                waste(&self.password, self.costs.start);
                self.costs.start
            }
        };
        // 2^c + 2^c + 2^(c+1) + ... + 2^(h-1) = 2^h rounds: as many as for the highest cost.
        for cost in cost..self.costs.end {
            waste(&self.password, cost);
        }
        false
    }
}

fn rounds(password: &[u8], cost: u32) {
    let mut padded = Zeroizing::new([0; LONGEST_PASSWORD]);
    padded.iter_mut().zip(password).for_each(|(to, from)| *to = *from);
    std::hint::black_box(bcrypt::bcrypt(cost, [0; 16], &padded[..]));
}

#[cfg(test)]
mod tests;
