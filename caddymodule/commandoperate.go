// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

func redriveCommand() *cobra.Command {
	cmd := command("redrive [<delivery>...]", "Tries dead deliveries again, one by one or all that flags select", cobra.ArbitraryArgs,
		func(s *shell, args []string) error { return s.each(args, "redrive", "re-driven", s.perDelivery) })
	cmd.Long = `
Makes dead deliveries due again, at once and with all their tries.

With flags it is a job in the background, which goes as fast as the
destinations deliver; see caddy relay jobs. --dry-run only counts.`
	cmd.Example = `  $ caddy relay redrive msg_01K0.../1
  $ caddy relay redrive --destination stripe:default --from 6h --dry-run
  $ caddy relay redrive --all`
	addJob(cmd)
	cmd.Flags().Bool("all", false, "All dead deliveries")
	return cmd
}

func replayCommand() *cobra.Command {
	cmd := command("replay [<message>...]", "Delivers messages once more, one by one or all that flags select", cobra.ArbitraryArgs,
		func(s *shell, args []string) error { return s.each(args, "replay", "replayed", s.perMessage) })
	cmd.Long = `
Makes new deliveries of stored messages, whatever became of earlier ones.
The app is told by the header Relay-Replay: 1, and by an Idempotency-Key of
their own.

Without --replay-to a message goes to all destinations it had. With
flags it is a job in the background; a message that is still on its way to a
destination is left out there. --dry-run only counts.`
	cmd.Example = `  $ caddy relay replay msg_01K0...
  $ caddy relay replay msg_01K0... --replay-to ledger
  $ caddy relay replay --source stripe --type 'invoice.paid' --from 3d --replay-to stripe:ledger --dry-run`
	addJob(cmd)
	cmd.Flags().String("state", "", "Deliveries in this state, as in delivered")
	cmd.Flags().String("replay-to", "", "Destination to deliver to")
	return cmd
}

func cancelCommand() *cobra.Command {
	cmd := command("cancel [<delivery>...]", "Ends open deliveries for good, one by one or all that flags select", cobra.ArbitraryArgs,
		func(s *shell, args []string) error { return s.each(args, "cancel", "canceled", s.perDelivery) })
	addJob(cmd)
	cmd.Example = `  $ caddy relay cancel msg_01K0.../1
  $ caddy relay cancel --destination stripe:old --dry-run`
	return cmd
}

func deleteCommand() *cobra.Command {
	cmd := command("delete [<message>...]", "Removes messages for good, one by one or all that flags select", cobra.ArbitraryArgs,
		func(s *shell, args []string) error { return s.each(args, "delete", "deleted", s.remove) })
	cmd.Long = `
Removes messages with their deliveries and attempts, open ones too. A
duplicate is still dropped while its key is kept.

With flags it is a job in the background, for the messages of all deliveries
that are selected and have ended. A message stays that may still be
delivered: one with an open delivery, which has to be canceled first, or with
a dead one that the flags do not select. --dry-run only counts.`
	cmd.Example = `  $ caddy relay delete msg_01K0...
  $ caddy relay delete --state dead --source stripe --to 30d --dry-run
  $ caddy relay delete --destination stripe:old`
	addJob(cmd)
	cmd.Flags().String("state", "", "Deliveries in this state, as in dead")
	return cmd
}

// addJob adds the flags of what can be a job.
func addJob(cmd *cobra.Command) {
	cmd.Flags().String("destination", "", "Deliveries to this destination")
	addSelection(cmd)
	cmd.Flags().Int("rate", 0, "At most so many in a second (default: what the destinations deliver)")
	cmd.Flags().Bool("dry-run", false, "Only count what would be done")
}

// jobRequest reads the flags of a job, and whether any selects something.
func (s *shell) jobRequest(action string) (req jobRequest, selects bool) {
	text := func(name string) string {
		flag := s.cmd.Flags().Lookup(name)
		if flag == nil {
			return ""
		}
		selects = selects || name != "replay-to" && flag.Changed
		return flag.Value.String()
	}
	req = jobRequest{
		Action: action, Destination: text("destination"), State: text("state"), Source: text("source"), Type: text("type"),
		EventID: text("event-id"), From: text("from"), To: text("to"), ReplayTo: text("replay-to"),
	}
	selects = selects || s.flag("all")
	req.Rate, _ = s.cmd.Flags().GetInt("rate")
	req.DryRun = s.flag("dry-run")
	return req, selects
}

func (s *shell) flag(name string) bool {
	on, err := s.cmd.Flags().GetBool(name)
	return err == nil && on
}

// each does something to each of the ids, or starts a job for what flags select.
func (s *shell) each(ids []string, action, done string, do func(action, id string) (answer []byte, what []string, err error)) error {
	req, selects := s.jobRequest(action)
	switch {
	case len(ids) > 0 && (selects || req.DryRun || req.Rate != 0):
		return errors.New("name ids or select by flags, not both")
	case len(ids) == 0 && !selects && action == "redrive":
		return errors.New("name deliveries, select some with --destination, --source, --type, --event-id, --from or --to, or say --all")
	case len(ids) == 0 && !selects:
		return errors.New("name ids, or select with --destination, --source, --type, --event-id, --from or --to")
	case len(ids) == 0:
		return s.job(&req)
	}
	var failed []error
	for _, id := range ids {
		answer, what, err := do(action, id)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", id, err))
			continue
		}
		if s.json {
			_, _ = s.out.Write(answer)
			continue
		}
		for _, w := range what {
			line(s.out, "%s %s", done, w)
		}
	}
	return errors.Join(failed...)
}

func (s *shell) perDelivery(action, id string) ([]byte, []string, error) {
	message, number, _ := strings.Cut(id, "/")
	path := "/relay/deliveries/" + url.PathEscape(message) + "/" + url.PathEscape(number)
	if number == "" {
		return nil, nil, fmt.Errorf("this is no delivery, which is a message id, a slash and a number, as in %s/1", id)
	}
	answer, err := s.client.call(s.cmd.Context(), http.MethodPost, path+"/"+action, nil)
	if err != nil {
		return nil, nil, err
	}
	var view deliveryView
	err = decodeAnswer(answer, &view)
	return answer, []string{view.ID + " to " + view.Destination}, err
}

func (s *shell) perMessage(_, id string) ([]byte, []string, error) {
	to, _ := s.cmd.Flags().GetString("replay-to")
	answer, err := s.client.call(s.cmd.Context(), http.MethodPost, "/relay/messages/"+url.PathEscape(id)+"/replay", replayRequest{To: to})
	if err != nil {
		return nil, nil, err
	}
	var page deliveriesPage
	err = decodeAnswer(answer, &page)
	var made []string
	for i := range page.Deliveries {
		made = append(made, page.Deliveries[i].ID+" to "+page.Deliveries[i].Destination)
	}
	return answer, made, err
}

func (s *shell) remove(_, id string) ([]byte, []string, error) {
	answer, err := s.client.call(s.cmd.Context(), http.MethodDelete, "/relay/messages/"+url.PathEscape(id), nil)
	return answer, []string{id}, err
}

// job starts a job, or counts what it would do.
func (s *shell) job(req *jobRequest) error {
	answer, err := s.client.call(s.cmd.Context(), http.MethodPost, "/relay/jobs", req)
	if err != nil {
		return err
	}
	if req.DryRun {
		return print(s, answer, func(w io.Writer, v *countView) {
			more := ""
			if v.More {
				more = " or more"
			}
			counted := plural(v.Count, "delivery", "deliveries")
			if v.Action == "delete" {
				counted = plural(v.Count, "message", "messages")
			}
			line(w, "%s%s to %s; nothing was changed", counted, more, v.Action)
		})
	}
	return print(s, answer, func(w io.Writer, v *jobView) {
		line(w, "%s has begun. To see how far it is: caddy relay show %s", v.ID, v.ID)
	})
}

func pauseCommand() *cobra.Command {
	cmd := command("pause <destination>", "Holds the deliveries of a destination back until it is resumed", cobra.ExactArgs(1), func(s *shell, args []string) error {
		reason, _ := s.cmd.Flags().GetString("reason")
		return s.turn(args[0], "pause", pauseRequest{Reason: reason}, func(w io.Writer, v *pausedView) { printPaused(w, v, reason) })
	})
	cmd.Long = `
Holds the deliveries of a destination back until it is resumed, over restarts
and reloads. Messages are accepted, and wait.

One that is paused already stays so; a --reason replaces the one it had.`
	cmd.Flags().String("reason", "", "Why, for other operators to read")
	return cmd
}

func resumeCommand() *cobra.Command {
	return command("resume <destination>", "Goes on with the deliveries of a paused destination", cobra.ExactArgs(1), func(s *shell, args []string) error {
		return s.turn(args[0], "resume", nil, func(w io.Writer, _ *pausedView) { line(w, "%s is resumed", args[0]) })
	})
}

// turn pauses or resumes a destination.
func (s *shell) turn(destination, action string, body any, show func(io.Writer, *pausedView)) error {
	answer, err := s.client.call(s.cmd.Context(), http.MethodPost, "/relay/destinations/"+url.PathEscape(destination)+"/"+action, body)
	if err != nil {
		return err
	}
	return print(s, answer, show)
}
