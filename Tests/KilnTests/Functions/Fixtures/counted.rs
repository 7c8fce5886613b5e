// Known numbers of calls; panics pass through probed functions.
use std::panic;
use std::time::{Duration, Instant};

#[inline(never)]
fn leaf(n: u64) -> u64 {
    std::hint::black_box(n) * 3
}

#[inline(never)]
fn panics(n: u64) -> u64 {
    if n == 0 {
        panic!("")
    }
    std::hint::black_box(panics(n - 1)) + 1
}

#[inline(never)]
fn spins(d: Duration) -> u64 {
    let began = Instant::now();
    let mut sum = 0;
    while began.elapsed() < d {
        sum += 1;
    }
    std::hint::black_box(sum)
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
