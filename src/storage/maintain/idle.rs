//! Work that takes what nobody else wants of the machine.

use thread_priority::ThreadPriority;

/// Lets this thread run only when no other wants to: with a low priority alone it would keep a request that wakes up
/// waiting for its slice.
pub(crate) fn give_way() -> Result<(), thread_priority::Error> {
    #[cfg(target_os = "linux")]
    return thread_priority::set_thread_priority_and_policy(
        thread_priority::thread_native_id(),
        ThreadPriority::Min,
        thread_priority::ThreadSchedulePolicy::Normal(thread_priority::NormalThreadSchedulePolicy::Idle),
    );
    #[cfg(not(target_os = "linux"))]
    return thread_priority::set_current_thread_priority(ThreadPriority::Min);
}

/// All of whose threads give way, those for blocking work too.
pub(crate) fn runtime(name: &'static str) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(8)
        .thread_name(name)
        .enable_all()
        .on_thread_start(move || {
            if let Err(error) = give_way() {
                tracing::warn!(?error, name, "it runs at the priority of everything else");
            }
        })
        .build()
}
