//! Merchants, payments and withdrawals to begin with.

use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{Answer, Client};

pub const BANK_ACCOUNT: &str = "99887766554433221100";
pub const BANK_ROUTING: &str = "021000021";

impl Client {
    /// A new merchant's id.
    pub fn merchant(&self) -> String {
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        self.post("/api/merchants", &json!({"name": "Test", "email": email})).expect(201).id()
    }

    /// A new pending payment's path, in USD.
    pub fn payment(&self, merchant: &str, amount_minor: i64) -> String {
        let path = format!("/api/merchants/{merchant}/payments");
        let payment = json!({"amountInMinorUnits": amount_minor, "currency": "USD"});
        format!("{path}/{}", self.post(&path, &payment).expect(201).id())
    }

    /// A new completed payment's path, in USD.
    pub fn completed_payment(&self, merchant: &str, amount_minor: i64) -> String {
        let payment = self.payment(merchant, amount_minor);
        self.post_empty(&format!("{payment}/complete")).expect(200);
        payment
    }

    pub fn request_withdrawal(&self, merchant: &str, amount_minor: i64) -> Answer {
        self.post(&format!("/api/merchants/{merchant}/withdrawals"), &new_withdrawal(amount_minor))
    }

    /// A new pending withdrawal's path, in USD.
    pub fn withdrawal(&self, merchant: &str, amount_minor: i64) -> String {
        let id = self.request_withdrawal(merchant, amount_minor).expect(201).id();
        format!("/api/merchants/{merchant}/withdrawals/{id}")
    }

    /// Available and pending, in minor units of USD; zeros when there is no balance yet.
    pub fn balance(&self, merchant: &str) -> (i64, i64) {
        let answer = self.get(&format!("/api/merchants/{merchant}/balances")).expect(200);
        let balance = answer.list().iter().find(|balance| balance["currency"] == "USD").cloned();
        balance.map_or((0, 0), |balance| {
            let minor = |member: &str| balance[member].as_i64().unwrap();
            (minor("availableBalanceInMinorUnits"), minor("pendingBalanceInMinorUnits"))
        })
    }

    /// The balance in the table is the sum of its ledger entries.
    #[track_caller]
    pub fn verify_balance(&self, merchant: &str) {
        let path = format!("/api/admin/verify-balance/{merchant}?currency=USD");
        let proof = self.get(&path).expect(200);
        assert_eq!(proof.json["isValid"], true, "{}", proof.text);
        assert_eq!(proof.integer("differenceInMinorUnits"), 0);
    }

    /// All pages of a list.
    pub fn all_pages(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let page = self.get(&path).expect(200);
            items.extend(page.list().iter().cloned());
            next = page.next_page();
        }
        items
    }
}

impl Answer {
    /// The target of the link to the next page (RFC 8288), as a path.
    pub fn next_page(&self) -> Option<String> {
        let link = self.header("link")?;
        let link = link.split(',').find(|link| link.contains("rel=\"next\""))?;
        let (_, target) = link.split_once('<')?;
        let (target, _) = target.split_once('>')?;
        let path = target.find("/api/").map_or(target, |begin| &target[begin..]);
        Some(path.to_owned())
    }
}

pub fn new_withdrawal(amount_minor: i64) -> Value {
    json!({
        "amountInMinorUnits": amount_minor,
        "currency": "USD",
        "bankAccountNumber": BANK_ACCOUNT,
        "bankRoutingNumber": BANK_ROUTING,
    })
}

/// Runs a task on so many threads at once, and gives what came of each.
pub fn at_once<T: Send>(threads: usize, task: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = std::sync::Barrier::new(threads);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|number| {
                let (barrier, task) = (&barrier, &task);
                scope.spawn(move || {
                    barrier.wait();
                    task(number)
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
