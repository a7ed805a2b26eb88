//! One io_uring per core: driver, executor, files, sockets, timers, mailboxes; and the simulated driver.
