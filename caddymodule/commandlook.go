// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-relay/caddy-relay/relay"
)

func statsCommand() *cobra.Command {
	cmd := command("stats", "Shows the store and the books of all destinations", cobra.NoArgs, func(s *shell, _ []string) error {
		return look(s, "/relay/stats", printStats)
	})
	cmd.Long = `
Shows how the store is, and for each destination how it is and its books:

	up        it takes deliveries
	down      the last attempts found nobody there, and it is probed
	paused    an operator has paused it
	parked    the configuration that runs does not have it

All deliveries ever made are delivered, dead, open, canceled or deleted.`
	return cmd
}

// selection are the flags by which messages and deliveries are selected.
var selection = []struct{ name, usage string }{
	{"source", "Messages of this source"},
	{"type", "Messages of this event type"},
	{"event-id", "The message with this id of its sender's"},
	{"from", "Messages received at this time or later: 2026-03-01T12:00:00Z, or 2h for two hours ago"},
	{"to", "Messages received before this time"},
}

// addSelection adds the flags by which messages are selected.
func addSelection(cmd *cobra.Command) {
	for _, flag := range selection {
		cmd.Flags().String(flag.name, "", flag.usage)
	}
}

// addPage adds the flags of a list.
func addPage(cmd *cobra.Command) {
	cmd.Flags().Int("limit", 25, "How many rows to show, up to "+strconv.Itoa(maxPage))
	cmd.Flags().String("cursor", "", "Where to go on: what the page before has said")
}

// query collects flags as parameters of a list.
func query(cmd *cobra.Command) string {
	values := url.Values{}
	for _, name := range []string{"destination", "state", "source", "type", "event-id", "from", "to", "limit", "cursor"} {
		if flag := cmd.Flags().Lookup(name); flag != nil && flag.Value.String() != "" {
			values.Set(strings.ReplaceAll(name, "-", "_"), flag.Value.String())
		}
	}
	return "?" + values.Encode()
}

func messagesCommand() *cobra.Command {
	cmd := command("messages", "Lists messages, newest first", cobra.NoArgs, func(s *shell, _ []string) error {
		return look(s, "/relay/messages"+query(s.cmd), printMessages)
	})
	addSelection(cmd)
	addPage(cmd)
	return cmd
}

func deliveriesCommand() *cobra.Command {
	cmd := command("deliveries", "Lists deliveries, oldest first", cobra.NoArgs, func(s *shell, _ []string) error {
		return look(s, "/relay/deliveries"+query(s.cmd), printDeliveries)
	})
	cmd.Flags().String("destination", "", "Deliveries to this destination")
	cmd.Flags().String("state", "", "Deliveries in this state: open, pending, leased, waiting, delivered, dead, canceled")
	addSelection(cmd)
	addPage(cmd)
	cmd.Example = "  $ caddy relay deliveries --state dead --destination stripe:default --from 24h"
	return cmd
}

func showCommand() *cobra.Command {
	cmd := command("show <message>|<delivery>|<job>", "Shows a message with its deliveries and their attempts, or a job", cobra.ExactArgs(1),
		func(s *shell, args []string) error {
			id := args[0]
			if message, number, ok := strings.Cut(id, "/"); ok {
				return look(s, "/relay/deliveries/"+url.PathEscape(message)+"/"+url.PathEscape(number), printDelivery)
			}
			if strings.HasPrefix(id, relay.JobPrefix) {
				return look(s, "/relay/jobs/"+url.PathEscape(id), printJob)
			}
			return look(s, "/relay/messages/"+url.PathEscape(id), printMessage)
		})
	cmd.Long = `
Shows a message with its deliveries and every attempt of them, one
delivery, or a job.

Bodies, answers of the app, and all headers that may hold a signature or a
credential are hidden, unless the configuration says admin_reveal.`
	return cmd
}

func jobsCommand() *cobra.Command {
	cmd := command("jobs [pause|resume|cancel|delete <job>]", "Lists jobs, newest first, or pauses, resumes, cancels or deletes one", cobra.MaximumNArgs(2),
		func(s *shell, args []string) error {
			if len(args) == 0 {
				return look(s, "/relay/jobs", printJobs)
			}
			if len(args) != 2 || !slices.Contains([]string{"pause", "resume", "cancel", "delete"}, args[0]) {
				return errors.New("say pause, resume, cancel or delete, and the id of a job, as in caddy relay jobs pause <job>")
			}
			path := "/relay/jobs/" + url.PathEscape(args[1])
			if args[0] == "delete" {
				return s.deleteJob(path, args[1])
			}
			answer, err := s.client.call(s.cmd.Context(), http.MethodPost, path+"/"+args[0], nil)
			if err != nil {
				return err
			}
			return print(s, answer, func(w io.Writer, j *jobView) { line(w, "job %s is %s", j.ID, j.State) })
		})
	cmd.Long = `
Lists jobs, newest first. The last hundred are kept.

A job that is canceled ends where it stands; what it has done stays done.
Only one that has ended, or can not be read, is deleted.`
	return cmd
}

func (s *shell) deleteJob(path, id string) error {
	answer, err := s.client.call(s.cmd.Context(), http.MethodDelete, path, nil)
	if err != nil {
		return err
	}
	return print(s, answer, func(w io.Writer, _ *map[string]string) { line(w, "deleted %s", id) })
}
