import Glibc

/// Work on a thread of its own.
final class BackgroundThread {
    private let thread: pthread_t?

    /// Begins at once, or does the work here where no thread can be had.
    init(_ work: @escaping @Sendable () -> Void) {
        let box = Unmanaged.passRetained(Work(work))
        var thread = pthread_t()
        let failed = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body() }
                return nil
            }, box.toOpaque())
        self.thread = failed == 0 ? thread : nil
        if failed != 0 { box.takeRetainedValue().body() }
    }

    func join() { if let thread { pthread_join(thread, nil) } }

    private final class Work {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
}
