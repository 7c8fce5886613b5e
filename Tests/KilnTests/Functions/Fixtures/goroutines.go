// Known numbers of calls in goroutines, whose stacks grow and move, and which move between threads.
package main

import (
	"fmt"
	"sync"
	"time"
)

//go:noinline
func leaf(n int) int { return n * 3 }

//go:noinline
func grows(n int) int {
	var bytes [512]byte
	bytes[n%512] = byte(n)
	if n == 0 {
		return int(bytes[0])
	}
	return grows(n-1) + int(bytes[n%512])
}

//go:noinline
func sleeps(d time.Duration) { time.Sleep(d) }

//go:noinline
func panics(n int) int {
	if n == 0 {
		panic("")
	}
	return panics(n-1) + 1
}

//go:noinline
func recovers() {
	defer func() { recover() }()
	panics(10)
}

//go:noinline
func brief(n int) int { return n + 1 }

func main() {
	var group sync.WaitGroup
	for g := 0; g < 97; g++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := 0; i < 101; i++ {
				leaf(i)
			}
			grows(200)
			recovers()
		}()
	}
	group.Wait()
	// More than there is room for at a time.
	for g := 0; g < 20011; g++ {
		group.Add(1)
		go func() {
			defer group.Done()
			brief(g)
		}()
	}
	group.Wait()
	began := time.Now()
	for i := 0; i < 7; i++ {
		sleeps(20 * time.Millisecond)
	}
	fmt.Println("main.sleeps", time.Since(began).Nanoseconds())
}
