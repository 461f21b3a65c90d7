//! Look-ups by key that share a query: those that arrive while others are being answered are asked together in one
//! round trip. There is no timer: a look-up that comes alone is asked at once. Each is asked after it arrived, so
//! whoever wrote before sees what was written.

use std::{
    collections::HashMap,
    hash::Hash,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{
    id::{MerchantId, PaymentId},
    merchant::Merchant,
    payment::Payment,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    error::ReadError,
    queries::{
        MERCHANT, MERCHANT_BALANCES, MerchantBalances, PAYMENT, merchant_balances_from, merchant_from,
        payment_from,
    },
    sql::{Reads, Rows, Value},
};

/// Queries of one kind on their way at once; further look-ups gather meanwhile.
const QUERIES_MAX: usize = 2;
/// Look-ups that wait; one more is answered at once that the database is not available.
const WAITING_MAX: usize = 4096;
/// Keys a query may have. Each size is a text of its own that is planned once; what is not filled repeats the last key.
const SIZES: [usize; 4] = [1, 4, 16, 64];
const KEYS_MAX: usize = SIZES[SIZES.len() - 1];

/// What is looked up by key all the time.
pub struct Lookups {
    reads: Arc<dyn Reads>,
    merchants: Arc<Lookup<MerchantId, Merchant>>,
    payments: Arc<Lookup<PaymentId, Payment>>,
    balances: Arc<Lookup<MerchantId, MerchantBalances>>,
}

impl Lookups {
    pub fn new(reads: Arc<dyn Reads>) -> Self {
        Self {
            reads,
            merchants: Lookup::new(&format!("{MERCHANT} where id"), merchants),
            payments: Lookup::new(&format!("{PAYMENT} where id"), payments),
            balances: Lookup::new(&format!("{MERCHANT_BALANCES} where m.id"), merchant_balances_from),
        }
    }

    pub async fn merchant(&self, id: MerchantId) -> Result<Option<Merchant>, ReadError> {
        self.merchants.find(&self.reads, id).await
    }

    /// A payment, if it is the merchant's.
    pub async fn payment(&self, merchant: MerchantId, id: PaymentId) -> Result<Option<Payment>, ReadError> {
        let found = self.payments.find(&self.reads, id).await?;
        Ok(found.filter(|payment| payment.merchant_id == merchant))
    }

    /// A merchant and all balances, by currency.
    pub async fn balances(&self, id: MerchantId) -> Result<Option<MerchantBalances>, ReadError> {
        self.balances.find(&self.reads, id).await
    }
}

fn merchants(rows: &Rows) -> Found<MerchantId, Merchant> {
    rows.iter().map(|row| merchant_from(row).map(|merchant| (merchant.id, merchant))).collect()
}

fn payments(rows: &Rows) -> Found<PaymentId, Payment> {
    rows.iter().map(|row| payment_from(row).map(|payment| (payment.id, payment))).collect()
}

/// What is found for each key. Keys that have nothing are not in it.
type Found<K, V> = Result<HashMap<K, V>, ReadError>;

trait Key: Copy + Eq + Hash {
    fn value(self) -> Value;
}

impl Key for MerchantId {
    fn value(self) -> Value {
        self.0.into()
    }
}

impl Key for PaymentId {
    fn value(self) -> Value {
        self.0.into()
    }
}

struct Lookup<K, V> {
    /// By [`SIZES`].
    texts: [String; SIZES.len()],
    read: fn(&Rows) -> Found<K, V>,
    waiting: Mutex<Vec<Waiting<K, V>>>,
    turns: Arc<Semaphore>,
}

struct Waiting<K, V> {
    key: K,
    reply: oneshot::Sender<Result<Option<V>, ReadError>>,
}

impl<K, V> Lookup<K, V>
where
    K: Key + Send + Sync + 'static,
    V: Clone + Send + 'static,
{
    /// `select` ends where the column of the key stands in its WHERE.
    fn new(select: &str, read: fn(&Rows) -> Found<K, V>) -> Arc<Self> {
        let text = |size: usize| {
            let params: Vec<String> = (1..=size).map(|number| format!("${number}")).collect();
            format!("{select} in ({})", params.join(", "))
        };
        let turns = Arc::new(Semaphore::new(QUERIES_MAX));
        Arc::new(Self { texts: SIZES.map(text), read, waiting: Mutex::default(), turns })
    }

    async fn find(self: &Arc<Self>, reads: &Arc<dyn Reads>, key: K) -> Result<Option<V>, ReadError> {
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.len() == WAITING_MAX {
                return Err(ReadError::Unavailable(format!("{WAITING_MAX} look-ups are waiting already")));
            }
            waiting.push(Waiting { key, reply });
        }
        if let Ok(turn) = self.turns.clone().try_acquire_owned() {
            // A task of its own: whoever came first may go away, and the others stay.
            tokio::spawn(self.clone().answer_all(reads.clone(), turn));
        }
        answer.await.unwrap_or_else(|_| Err(ReadError::Unavailable("a look-up was given up".to_owned())))
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting<K, V>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until nobody waits.
    async fn answer_all(self: Arc<Self>, reads: Arc<dyn Reads>, mut turn: OwnedSemaphorePermit) {
        loop {
            let asked = {
                let mut waiting = self.waiting();
                waiting.retain(|waiting| !waiting.reply.is_closed());
                let taken = waiting.len().min(KEYS_MAX);
                // Those that came first.
                let rest = waiting.split_off(taken);
                mem::replace(&mut *waiting, rest)
            };
            if asked.is_empty() {
                drop(turn);
                // One may have come that found no turn free. It is looked for behind the turn: whoever holds one now looks
                // too when it gives it back.
                if self.waiting().is_empty() {
                    return;
                }
                turn = match self.turns.clone().try_acquire_owned() {
                    Ok(turn) => turn,
                    Err(_) => return,
                };
                continue;
            }
            self.answer(reads.as_ref(), asked).await;
        }
    }

    async fn answer(&self, reads: &dyn Reads, asked: Vec<Waiting<K, V>>) {
        let keys: Vec<K> = asked.iter().map(|waiting| waiting.key).collect();
        match self.query(reads, &keys).await {
            Ok(found) => {
                for Waiting { key, reply } in asked {
                    // Whoever asked may be gone.
                    drop(reply.send(Ok(found.get(&key).cloned())));
                }
            }
            // One row that cannot be read is no harm to the others.
            Err(ReadError::Invalid(_)) if asked.len() > 1 => {
                for Waiting { key, reply } in asked {
                    let found = self.query(reads, &[key]).await;
                    drop(reply.send(found.map(|mut found| found.remove(&key))));
                }
            }
            // Nobody who waits would be answered better, and each would wait longer.
            Err(error) => {
                let others = mem::take(&mut *self.waiting());
                for Waiting { reply, .. } in asked.into_iter().chain(others) {
                    drop(reply.send(Err(error.clone())));
                }
            }
        }
    }

    async fn query(&self, reads: &dyn Reads, keys: &[K]) -> Found<K, V> {
        let Some(last) = keys.last() else { return Ok(HashMap::new()) };
        let which = SIZES.iter().position(|size| keys.len() <= *size).unwrap_or(SIZES.len() - 1);
        let filled = keys.iter().chain(std::iter::repeat(last)).take(SIZES[which]);
        let params = filled.map(|key| key.value()).collect();
        (self.read)(&reads.query(&self.texts[which], params).await?)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::{BoxFuture, join_all};

    use super::*;
    use crate::sql::Dialect;

    /// Knows the even numbers; answers one query after the other when it is let, and counts them.
    struct Even {
        let_go: Semaphore,
        asked: Mutex<Vec<usize>>,
    }

    impl Reads for Even {
        fn dialect(&self) -> Dialect {
            Dialect::Sqlite
        }

        fn query<'a>(&'a self, _: &'a str, keys: Vec<Value>) -> BoxFuture<'a, Result<Rows, ReadError>> {
            self.asked.lock().unwrap().push(keys.len());
            Box::pin(async move {
                self.let_go.acquire().await.unwrap().forget();
                let mut rows = Rows::new(1);
                if keys.contains(&Value::Int(POISON)) {
                    rows.push_null();
                    return Ok(rows);
                }
                for key in keys {
                    match key {
                        Value::Int(number) if number % 2 == 0 => rows.push_int(number),
                        _ => {}
                    }
                }
                Ok(rows)
            })
        }
    }

    const POISON: i64 = 13;

    impl Key for i64 {
        fn value(self) -> Value {
            self.into()
        }
    }

    fn numbers(rows: &Rows) -> Found<i64, i64> {
        rows.iter().map(|row| Ok((row.int(0)?, row.int(0)?))).collect()
    }

    type Finding = tokio::task::JoinHandle<Result<Option<i64>, ReadError>>;

    struct Looking {
        even: Arc<Even>,
        lookup: Arc<Lookup<i64, i64>>,
    }

    impl Looking {
        fn find(&self, key: i64) -> Finding {
            let (lookup, reads): (_, Arc<dyn Reads>) = (self.lookup.clone(), self.even.clone());
            tokio::spawn(async move { lookup.find(&reads, key).await })
        }

        /// All queries that may be on their way are, for the keys 0 and 1.
        async fn busy() -> (Self, Vec<Finding>) {
            let even = Arc::new(Even { let_go: Semaphore::new(0), asked: Mutex::default() });
            let looking = Self { even, lookup: Lookup::new("select n from numbers where n", numbers) };
            let mut finding = Vec::new();
            for key in 0..2 {
                finding.push(looking.find(key));
                until(|| looking.even.asked.lock().unwrap().len() == finding.len()).await;
            }
            (looking, finding)
        }

        async fn waiting(&self, count: usize) {
            until(|| self.lookup.waiting().len() == count).await;
        }
    }

    async fn until(is_so: impl Fn() -> bool) {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn those_that_come_meanwhile_share_a_query_and_each_gets_its_own() {
        let (looking, mut finding) = Looking::busy().await;
        finding.extend((100..170).map(|key| looking.find(key)));
        looking.waiting(70).await;
        // One goes away: the others are answered as if it had not.
        finding[40].abort();
        looking.even.let_go.add_permits(1000);
        for (key, found) in (0..2).chain(100..170).zip(join_all(finding).await) {
            match found {
                Ok(found) => assert_eq!(found.unwrap(), (key % 2 == 0).then_some(key)),
                Err(_) => assert_eq!(key, 138),
            }
        }
        // Seventy are sixty-four and six, and the six are filled up to a size that is planned already.
        assert_eq!(*looking.even.asked.lock().unwrap(), [1, 1, 64, 16]);
        assert_eq!(looking.find(8).await.unwrap().unwrap(), Some(8));
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_harms_whoever_asked_for_it_alone() {
        let (looking, mut finding) = Looking::busy().await;
        finding.extend((10..16).map(|key| looking.find(key)));
        looking.waiting(6).await;
        looking.even.let_go.add_permits(1000);
        for (key, found) in (0..2).chain(10..16).zip(join_all(finding).await) {
            match found.unwrap() {
                Ok(found) => assert_eq!(found, (key % 2 == 0).then_some(key)),
                Err(error) => assert!(key == POISON && matches!(error, ReadError::Invalid(_))),
            }
        }
    }

    #[tokio::test]
    async fn one_too_many_is_refused_at_once() {
        let (looking, mut finding) = Looking::busy().await;
        finding.extend((0..WAITING_MAX).map(|_| looking.find(4)));
        looking.waiting(WAITING_MAX).await;
        assert!(matches!(looking.find(4).await.unwrap(), Err(ReadError::Unavailable(_))));
        looking.even.let_go.add_permits(WAITING_MAX);
        for found in join_all(finding).await.into_iter().skip(2) {
            assert_eq!(found.unwrap().unwrap(), Some(4));
        }
    }
}
