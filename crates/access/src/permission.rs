//! What operators may do, by their role: the one table of it.

use std::{fmt, str::FromStr};

use crate::caller::{UnknownRole, unknown};

/// Of an operator of the console. Not a ladder: support and finance look after different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperatorRole {
    Viewer,
    Support,
    Finance,
    Admin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Every page but those that are named below.
    View,
    /// Lists as files.
    Export,
    /// Approve or decline what was flagged.
    ReviewPayments,
    /// Complete and refund.
    ChangePayments,
    /// Process, complete, fail and cancel.
    ChangeWithdrawals,
    ChangeMerchants,
    /// Redrive and discard dead letters.
    Redrive,
    /// Pause, resume, and start anew from a position.
    ControlConsumers,
    /// What records and dead letters hold, byte for byte.
    ReadMessages,
    /// Begin a run, and close a break.
    Reconcile,
    ManageKeys,
    ManageOperators,
    ReadAudit,
    ReadConfiguration,
    /// Of the processor and of memory, of the running program.
    TakeProfiles,
}

impl OperatorRole {
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Support, Self::Finance, Self::Admin];

    pub const fn may(self, permission: Permission) -> bool {
        use OperatorRole::{Admin, Finance, Support, Viewer};
        match permission {
            Permission::View => matches!(self, Viewer | Support | Finance | Admin),
            Permission::Export => matches!(self, Support | Finance | Admin),
            Permission::ReviewPayments => matches!(self, Support | Finance | Admin),
            Permission::ChangePayments => matches!(self, Support | Finance | Admin),
            Permission::ChangeWithdrawals => matches!(self, Finance | Admin),
            Permission::ChangeMerchants => matches!(self, Finance | Admin),
            Permission::Redrive => matches!(self, Support | Admin),
            Permission::ControlConsumers => matches!(self, Admin),
            Permission::ReadMessages => matches!(self, Support | Admin),
            Permission::Reconcile => matches!(self, Finance | Admin),
            Permission::ManageKeys => matches!(self, Admin),
            Permission::ManageOperators => matches!(self, Admin),
            Permission::ReadAudit => matches!(self, Finance | Admin),
            Permission::ReadConfiguration => matches!(self, Admin),
            Permission::TakeProfiles => matches!(self, Admin),
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Support => "support",
            Self::Finance => "finance",
            Self::Admin => "admin",
        }
    }

    pub(crate) const fn number(self) -> i64 {
        match self {
            Self::Viewer => 1,
            Self::Support => 2,
            Self::Finance => 3,
            Self::Admin => 4,
        }
    }

    pub(crate) fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.number() == number)
    }
}

impl fmt::Display for OperatorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for OperatorRole {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| unknown(text, &Self::ALL.map(Self::name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_leaves_by_finance_and_rights_by_admin_alone() {
        for role in [OperatorRole::Viewer, OperatorRole::Support] {
            assert!(!role.may(Permission::ChangeWithdrawals), "{role}");
        }
        let kept = [
            Permission::ManageKeys,
            Permission::ManageOperators,
            Permission::ControlConsumers,
            Permission::ReadConfiguration,
            Permission::TakeProfiles,
        ];
        for permission in kept {
            let who: Vec<_> = OperatorRole::ALL.into_iter().filter(|role| role.may(permission)).collect();
            assert_eq!(who, [OperatorRole::Admin], "{permission:?}");
        }
    }

    #[test]
    fn names_and_numbers_are_read_back() {
        for role in OperatorRole::ALL {
            assert_eq!(role.name().parse(), Ok(role));
            assert_eq!(OperatorRole::from_number(role.number()), Some(role));
            assert!(role.may(Permission::View));
        }
        assert!("root".parse::<OperatorRole>().is_err());
    }
}
