import Glibc

/// Work on a thread of its own.
final class BackgroundThread {
    private let thread: pthread_t?

    /// Begins at once, or does the work here where no thread can be had.
    init(_ work: @escaping @Sendable () -> Void) {
        thread = Self.create(work)
        if thread == nil { work() }
    }

    private init(running thread: pthread_t) { self.thread = thread }

    /// Begins at once. Nil where no thread can be had.
    static func started(_ work: @escaping @Sendable () -> Void) -> BackgroundThread? { create(work).map(BackgroundThread.init(running:)) }

    private static func create(_ work: @escaping @Sendable () -> Void) -> pthread_t? {
        let box = Unmanaged.passRetained(Work(work))
        var thread = pthread_t()
        let failed = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body() }
                return nil
            }, box.toOpaque())
        if failed != 0 { box.release() }
        return failed == 0 ? thread : nil
    }

    func join() { if let thread { pthread_join(thread, nil) } }

    private final class Work {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
}
