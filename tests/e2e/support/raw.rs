//! What may an application do that speaks no HTTP? Whatever a test does with its connection, or its datagrams.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::PATIENCE;

/// An address whose ports are nobody else's, as long as nobody listens there.
pub fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, SeqCst));
    Ipv4Addr::new(127, 220 + (process / 250 % 30) as u8, 1 + (process % 250) as u8, 1 + (number % 250) as u8)
}

/// An application on TCP. One thread per connection.
pub struct Raw {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    closing: Arc<AtomicBool>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

impl Raw {
    /// Does this with each connection.
    pub fn serving(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Raw {
        let listener = TcpListener::bind((own_address(), 0)).expect("all of 127.0.0.0/8 is this machine");
        let address = listener.local_addr().unwrap();
        let (accepted, open, closing) = (Arc::default(), Arc::default(), Arc::default());
        let (counted, current, stop) = (Arc::clone(&accepted), Arc::clone(&open), Arc::clone(&closing));
        let serve = Arc::new(serve);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if AtomicBool::load(&stop, SeqCst) {
                    return;
                }
                AtomicUsize::fetch_add(&counted, 1, SeqCst);
                AtomicUsize::fetch_add(&current, 1, SeqCst);
                let (serve, current) = (Arc::clone(&serve), Arc::clone(&current));
                std::thread::spawn(move || {
                    serve(stream);
                    AtomicUsize::fetch_sub(&current, 1, SeqCst);
                });
            }
        });
        Raw { address, accepted, open, closing, acceptor: Mutex::new(Some(acceptor)) }
    }

    /// Says its name and then what it hears.
    pub fn echo(name: &str) -> Raw {
        let name = name.to_owned();
        Raw::serving(move |mut stream| {
            let _ = stream.write_all(name.as_bytes());
            let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it accepted.
    pub fn accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }

    /// How many it serves.
    pub fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    /// The port refuses; connections that exist go on.
    pub fn stop_listening(&self) {
        let Some(acceptor) = self.acceptor.lock().unwrap().take() else { return };
        self.closing.store(true, SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
        acceptor.join().expect("the acceptor ends");
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.stop_listening();
    }
}

/// A connection of a client, whose waits have an end.
pub fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The next `count` bytes.
pub fn read(mut stream: &TcpStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).expect("they come");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// All bytes until the end; what a reset says is the error.
pub fn rest(mut stream: &TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map(|_| bytes)
}

/// Who sent which datagram.
pub type Seen = (SocketAddr, Vec<u8>);

/// An application on UDP, which answers each datagram with its name and the datagram, `times` over.
pub struct Datagrams {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    closing: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Datagrams {
    pub fn answering(name: &str, times: usize) -> Datagrams {
        let socket = UdpSocket::bind((own_address(), 0)).expect("all of 127.0.0.0/8 is this machine");
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let (seen, closing) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let (memory, stop, name) = (Arc::clone(&seen), Arc::clone(&closing), name.to_owned());
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !stop.load(SeqCst) {
                let Ok((count, from)) = socket.recv_from(&mut buffer) else { continue };
                memory.lock().unwrap().push((from, buffer[..count].to_vec()));
                for _ in 0..times {
                    let answer = [name.as_bytes(), &buffer[..count]].concat();
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Datagrams { address, seen, closing, thread: Mutex::new(Some(thread)) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who sent what.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The port refuses.
    pub fn stop(&self) {
        self.closing.store(true, SeqCst);
        if let Some(thread) = self.thread.lock().unwrap().take() {
            thread.join().expect("it ends");
        }
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.stop();
    }
}
