//! When each event happens, which its schema does not say.

/// By the event's type.
const OCCASIONS: &[(&str, &str)] = &[
    (
        "PaymentCreated",
        "`POST …/payments`, and once for each payment of `POST …/payments/bulk`. It is the first event of a payment, \
         whose status is then Pending.",
    ),
    (
        "PaymentCompleted",
        "`POST …/payments/{paymentId}/complete` on a pending payment, and so at most once a payment: asking again makes \
         no event.",
    ),
    (
        "PaymentCancelled",
        "`POST …/payments/{paymentId}/cancel` on a pending payment, and so at most once a payment. Its status is Failed \
         from then on.",
    ),
    (
        "PaymentRefunded",
        "`POST …/payments/{paymentId}/refund` on a completed payment, once for each part, until nothing is left to give \
         back. A refund never takes more than is available, so it does not happen where the balance is too small.",
    ),
    (
        "PaymentFlagged",
        "A check found the payment conspicuous, whatever its status: at most once a payment. No money moves and no status \
         changes. Neither the API nor a consumer of this version flags payments yet.",
    ),
    (
        "WithdrawalRequested",
        "`POST …/withdrawals`, when enough is available. It is the first event of a withdrawal, whose status is then \
         Pending.",
    ),
    (
        "WithdrawalProcessing",
        "`POST …/withdrawals/{withdrawalId}/process` on a pending withdrawal. From then on it cannot be cancelled.",
    ),
    (
        "WithdrawalCompleted",
        "`POST …/withdrawals/{withdrawalId}/complete` on a withdrawal in processing. It is the last event of a withdrawal.",
    ),
    (
        "WithdrawalFailed",
        "`POST …/withdrawals/{withdrawalId}/fail` on a withdrawal in processing. It is the last event of a withdrawal.",
    ),
    (
        "WithdrawalCancelled",
        "`POST …/withdrawals/{withdrawalId}/cancel` on a pending withdrawal. It is the last event of a withdrawal.",
    ),
    ("MerchantCreated", "`POST /api/merchants`. It is the first event of a merchant."),
    (
        "MerchantUpdated",
        "`PATCH /api/merchants/{merchantId}` with a name or an `isActive` that differs from what was. Asking for what is \
         so already makes no event.",
    ),
];

/// What has to happen for an event of this type.
pub fn occasion(event_type: &str) -> Option<&'static str> {
    OCCASIONS.iter().find(|(name, _)| *name == event_type).map(|(_, occasion)| *occasion)
}
