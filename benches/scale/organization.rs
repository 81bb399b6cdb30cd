//! The organisation that the fake AWS serves: accounts, users and keys, each computed from the seed, none of them stored.

/// The first account is the management account.
const FIRST_ID: u64 = 200_000_000_000;
const DAY: i64 = 86_400;
/// Beginnings of user names, as organisations have them: people, programs, pipelines.
const KINDS: [&str; 8] =
    ["svc-backup", "ci-deploy", "jane.doe", "terraform", "app-payments", "reporting", "max.mustermann", "etl-nightly"];

/// What an organisation consists of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Organization {
    /// Accounts, the management account included.
    pub accounts: usize,
    /// Users of each account.
    pub users: usize,
    /// One user in so many has two active keys.
    pub violating_one_in: usize,
    pub seed: u64,
    /// The time of the start, in seconds since 1970: keys are younger than 90 days at this time.
    pub now: i64,
}

pub struct User {
    pub index: usize,
    pub name: String,
    pub path: String,
    pub created: i64,
    pub keys: Vec<Key>,
}

pub struct Key {
    pub id: String,
    pub active: bool,
    pub created: i64,
    pub last_used: i64,
}

impl Organization {
    pub fn account_id(account: usize) -> String {
        (FIRST_ID + account as u64).to_string()
    }

    /// The account of an ID; `None` if the organisation has none with it.
    pub fn account_of(&self, id: &str) -> Option<usize> {
        let index = usize::try_from(id.parse::<u64>().ok()?.checked_sub(FIRST_ID)?).ok()?;
        (index < self.accounts).then_some(index)
    }

    /// A user of an account. With every generation other users are in violation, and all keys have been used again.
    pub fn user(&self, account: usize, index: usize, generation: usize) -> User {
        let stable = mix(self.seed ^ mix((account as u64) << 32 | index as u64));
        let now = mix(stable ^ generation as u64);
        let day = |random: u64, from: i64, days: u64| self.now - DAY * from - within(random, days * DAY.unsigned_abs());
        let key = |number: usize, active: bool| Key {
            id: format!("AKIA{}", letters((index * 2 + number) as u64)),
            active,
            created: day(stable.rotate_left(number as u32 * 16), 10, 70),
            last_used: day(now, 0, 8),
        };
        let two_active = self.violates(account, index, generation);
        let keys = match stable % 50 {
            _ if two_active => vec![key(0, true), key(1, true)],
            0 => vec![],
            1..=5 => vec![key(0, true), key(1, false)],
            _ => vec![key(0, true)],
        };
        let kind = KINDS[index % KINDS.len()];
        User {
            index,
            name: format!("{kind}-{index:05}"),
            path: format!("/division-{}/team-{}/", account % 7, index % 23),
            created: day(stable, 200, 800),
            keys,
        }
    }

    fn violates(&self, account: usize, index: usize, generation: usize) -> bool {
        (index + account + generation).is_multiple_of(self.violating_one_in)
    }

    /// The user of that name.
    pub fn user_named(&self, account: usize, name: &str, generation: usize) -> Option<User> {
        let index: usize = name.rsplit('-').next()?.parse().ok()?;
        (index < self.users).then(|| self.user(account, index, generation)).filter(|user| user.name == name)
    }

    /// Users with two active keys.
    pub fn violations(&self, account: usize, generation: usize) -> usize {
        (0..self.users).filter(|index| self.violates(account, *index, generation)).count()
    }
}

/// A number as 16 letters, as in the ID of an access key.
pub fn letters(number: u64) -> String {
    format!("{number:016}").bytes().map(|digit| char::from(digit - b'0' + b'A')).collect()
}

/// The number of such an ID, without the first four characters.
pub fn number(letters: &str) -> Option<u64> {
    let digits: String =
        letters.bytes().map(|letter| char::from(letter.wrapping_sub(b'A').wrapping_add(b'0'))).collect();
    digits.parse().ok()
}

/// SplitMix64: consecutive numbers become unrelated ones.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn within(random: u64, limit: u64) -> i64 {
    (random % limit).cast_signed()
}
