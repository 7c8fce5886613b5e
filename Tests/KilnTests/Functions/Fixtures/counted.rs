// Known numbers of calls; panics pass through probed functions.
use std::panic;
use std::time::{Duration, Instant};

/// A value that the compiler knows nothing of. std::hint::black_box is newer than Rust 1.63.
#[inline(always)]
fn unknown(value: u64) -> u64 {
    unsafe { std::ptr::read_volatile(&value) }
}

#[inline(never)]
fn leaf(n: u64) -> u64 {
    unknown(n) * 3
}

#[inline(never)]
fn panics(n: u64) -> u64 {
    if n == 0 {
        panic!("")
    }
    unknown(panics(n - 1)) + 1
}

#[inline(never)]
fn spins(d: Duration) -> u64 {
    let began = Instant::now();
    let mut sum = 0;
    while began.elapsed() < d {
        sum += 1;
    }
    unknown(sum)
}

fn main() {
    panic::set_hook(Box::new(|_| {}));
    for i in 0..1009 {
        leaf(i);
    }
    for _ in 0..7 {
        let _ = panic::catch_unwind(|| panics(10));
    }
    let began = Instant::now();
    for _ in 0..11 {
        spins(Duration::from_millis(5));
    }
    println!("spins {}", began.elapsed().as_nanos());
}
