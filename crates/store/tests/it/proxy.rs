//! A TCP proxy in front of PostgreSQL that can cut connections at the worst moment.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU32, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cut {
    Nothing = 0,
    /// COMMIT reaches the server; its answer does not come back.
    AnswerOfCommit = 1,
    /// COMMIT does not reach the server.
    Commit = 2,
    /// No connection lives, and none is made.
    Everything = 3,
}

/// How the client says COMMIT: a simple query (message `Q`, length 11, the text, a zero byte).
const COMMIT: &[u8] = b"Q\0\0\0\x0bcommit\0";

pub struct Proxy {
    pub port: u16,
    cut: Arc<AtomicU8>,
    pub cuts_made: Arc<AtomicU32>,
}

impl Proxy {
    pub async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(AtomicU8::new(0));
        let cuts_made = Arc::new(AtomicU32::new(0));
        let (cut_here, made) = (cut.clone(), cuts_made.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if cut_here.load(Ordering::SeqCst) == Cut::Everything as u8 {
                    continue;
                }
                tokio::spawn(forward(client, server.clone(), cut_here.clone(), made.clone()));
            }
        });
        Self { port, cut, cuts_made }
    }

    /// The next COMMIT is cut once; `Everything` stays until it is set to `Nothing`.
    pub fn set(&self, cut: Cut) {
        self.cut.store(cut as u8, Ordering::SeqCst);
    }
}

async fn forward(mut client: TcpStream, server: String, cut: Arc<AtomicU8>, made: Arc<AtomicU32>) {
    // The database may be away: then so is what leads to it.
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (mut up, mut down) = (vec![0_u8; 65536], vec![0_u8; 65536]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(bytes @ 1..) = read else { return };
                let sent = &up[..bytes];
                if sent.windows(COMMIT.len()).any(|window| window == COMMIT) {
                    let armed = cut.load(Ordering::SeqCst);
                    if armed == Cut::AnswerOfCommit as u8 && once(&cut, armed) {
                        made.fetch_add(1, Ordering::SeqCst);
                        if server.write_all(sent).await.is_err() || server.shutdown().await.is_err() {
                            return;
                        }
                        // Until the server has ended the connection it has also committed.
                        while matches!(server.read(&mut down).await, Ok(1..)) {}
                        return;
                    }
                    if armed == Cut::Commit as u8 && once(&cut, armed) {
                        made.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                }
                if cut.load(Ordering::SeqCst) == Cut::Everything as u8 || server.write_all(sent).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(bytes @ 1..) = read else { return };
                if client.write_all(&down[..bytes]).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn once(cut: &AtomicU8, armed: u8) -> bool {
    cut.compare_exchange(armed, Cut::Nothing as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}
