//! Divides accounts among shards by rendezvous hashing: each account belongs to the shard with the highest weight, so that
//! one more shard takes its part of the accounts from all others, and no account moves between two old shards.

use crate::config::shard::Shard;
use crate::model::AccountId;

/// Whether the account belongs to this shard. The same in every version and on every machine: all shards of an
/// installation have to agree.
pub fn contains(shard: Shard, account: AccountId) -> bool {
    owner(account, shard.total) == shard.index
}

/// The shard of `total` that the account belongs to, counted from 0.
pub fn owner(account: AccountId, total: u16) -> u16 {
    (0..total).max_by_key(|shard| account.mixed(*shard)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> impl Iterator<Item = AccountId> {
        (0..20_000_u64).map(|n| format!("{:012}", n * 7_919 + 100_000_000_000).parse().unwrap())
    }

    #[test]
    fn every_account_has_one_shard_and_shards_are_of_a_size() {
        for total in [1, 2, 3, 5, 7, 16] {
            let mut sizes = vec![0_u32; total.into()];
            for account in accounts() {
                let shards: Vec<u16> = (0..total).filter(|&index| contains(Shard { index, total }, account)).collect();
                assert_eq!(shards.len(), 1);
                sizes[usize::from(shards[0])] += 1;
            }
            let even = 20_000 / u32::from(total);
            assert!(sizes.iter().all(|s| s.abs_diff(even) < even / 10), "{total}: {sizes:?}");
        }
    }

    #[test]
    fn one_more_shard_takes_its_part_and_nothing_else_moves() {
        for total in 1..8 {
            let moved: Vec<u16> = accounts()
                .filter(|&account| owner(account, total) != owner(account, total + 1))
                .map(|account| owner(account, total + 1))
                .collect();
            assert!(moved.iter().all(|&to| to == total), "{total}");
            let expected = 20_000 / usize::from(total + 1);
            assert!(moved.len().abs_diff(expected) < expected / 10, "{total}: {} moved", moved.len());
        }
    }

    /// A change of the function would make shards of two versions disagree.
    #[test]
    fn the_shard_of_an_account_never_changes() {
        let shards: Vec<u16> =
            ["000000000000", "111111111111", "123456789012", "210987654321", "345678901234", "999999999999"]
                .map(|id| owner(id.parse().unwrap(), 5))
                .into();
        assert_eq!(shards, [0, 1, 1, 1, 0, 1]);
    }
}
