// SPDX-License-Identifier: Apache-2.0

// Package relay is an engine that accepts messages, keeps them in a store and
// delivers each of them to its destinations until that has succeeded or is given
// up.
//
// # Model
//
// A message is a request that somebody has sent: its body byte for byte, its
// headers, and where it came from. It goes to destinations; one message on its
// way to one destination is a delivery, and one try of a delivery is an attempt.
// A Deliverer makes the attempts. What is in force, which destinations above
// all, comes in generations: Attach puts one in force as a whole, Detach takes
// it back, and both may be called at any time.
//
// Start opens the store and Close ends the engine. Drain comes before Close
// where attempts under way shall end by themselves: it stops deliveries for good
// and waits for them, while Accept goes on.
//
// # What Accept promises
//
// A nil error means that the message, its dedupe key and its deliveries are on
// stable storage in one commit, or that the message is a duplicate of one of
// which that is true. A duplicate that arrives while its original is being
// committed waits for that commit; if the commit fails, the duplicate takes its
// place. Any error means trouble of our own and says nothing about the message:
// ask the sender to come back. After ErrDeadline the commit may still succeed,
// and the sender's retry is a duplicate then.
//
// # What deliveries promise
//
// Every accepted message is delivered at least once to each of its destinations
// or becomes a dead delivery, which stays in the store. It is delivered more than
// once only where the outcome of an attempt got lost: in a crash, or when the
// destination has acted on a request without its answer reaching us. Outcomes
// are committed together, a few milliseconds after the attempts.
//
// The rule of the destination decides when a failed attempt is repeated; see
// package retry. An attempt that the shutdown has cut off and one that met a
// mistake in the configuration are not counted, nor is one that was made before
// its time and found the destination down. A destination that is found down
// several times in a row is only probed, every five seconds; when it is back, all
// that waits for it is tried at once. A body that is not the one that
// was accepted is never delivered. Deliveries to a destination that is not in
// force wait in the store until it is again.
//
// Deliveries of one destination begin in the order in which their messages were
// accepted, except for retries and for what runs at the same time.
//
// # Bounds
//
// A destination runs at most MaxInFlight attempts at once and holds at most 1024
// deliveries ready in memory; all others stay in the store. Retries take at most
// half of its attempts at once. The engine runs at most 1024 attempts, of which
// one destination gets at most half, and 8 for each destination in any case. A
// destination that is slow or down does not delay others. Bodies take memory from the Budget from
// the first byte read until the first attempts are made; if it gets scarce, those
// of deliveries that wait are let go and read from the store later. Reading them
// back is bounded by MaxBuffer once more, of which one destination gets at most
// half, but each may have one body in any case.
//
// # Failure of the store
//
// When the store reports that it has failed, nothing is accepted and nothing is
// delivered until it has been closed and opened again, which the engine tries
// until it succeeds. A store that hangs is not waited for beyond the deadlines
// of the callers, nor by Close.
//
// # Map
//
// What is in which files, from the way in to the way out:
//
//	engine, session, generation       the engine, the life of one opened store, what a configuration asks for
//	accept, inbound, id               a message on its way in
//	pass                              a request that is not accepted but goes on to the next handler
//	front, flight                     dedupe keys seen last, and duplicates that wait for their original
//	budget, hold                      memory for bodies
//	space, disk, shorten              space on the disk: its limits, and history that makes room
//	commitqueue, sojourn, committer   the commit that messages share, and who is refused before it
//	waiter, waiters                   senders that wait for the first attempt
//	handover, dispatcher              from the commit to the scheduler, and what carries its decisions out
//	scheduler                         what is claimed and tried, and when: a step function without goroutines,
//	                                  locks, I/O or clocks, and so are the next four lines
//	queue, fifo, lane                 the deliveries of a destination, and of an order key
//	slot, serving                     how many attempts run at once, and whose turn it is
//	rate, pace                        how fast a destination gets them
//	breaker, standing, watch          destinations that are down, what is told of them, and clocks that jump
//	destination, target               where deliveries go, as asked for and as it is in force
//	workers, attempt, conclusion      one attempt and what it comes to
//	finisher, rescue                  outcomes on their way into the store, and what is due at once after them
//	trial                             what was under way when the process died, by package journal
//	operation, pause, job*            what operators do, to one delivery or destination, or to all of a query
//	janitor                           retention
//	health, status, observer          what is told to others
//	clock, errors                     the time, and the sentinels
package relay
