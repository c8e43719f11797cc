// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"

	"go.uber.org/zap"
)

// secretsView are the secrets that handshakes are to bring, or have brought.
type secretsView struct {
	Secrets []expectedSecret `json:"secrets"`
}

// secretView is one of them with the secret itself.
type secretView struct {
	expectedSecret
	Secret       *string `json:"secret,omitempty"`
	SecretBase64 []byte  `json:"secret_base64,omitempty"`
}

// listSecrets answers GET /relay/secrets.
func listSecrets(c *call) (int, any, error) {
	all, err := c.app.expectedSecrets(c.Context(), c.engine)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, secretsView{Secrets: all}, nil
}

// showSecret answers GET /relay/secrets/{source}/{scheme}/{name}. It shows the
// secret itself, and so only where admin_reveal is set.
func showSecret(c *call) (int, any, error) {
	if !c.app.AdminReveal {
		return 0, nil, apiError(http.StatusForbidden,
			errors.New("secrets are shown only with admin_reveal in the relay global option: set it, reload, and take it out again afterwards"))
	}
	wanted := expectedSecret{Source: c.PathValue("source"), Scheme: c.PathValue("scheme"), Name: c.PathValue("name")}
	kept, err := c.app.learnedSecret(c.Context(), c.engine, wanted)
	switch {
	case errors.Is(err, errNotExpected):
		return 0, nil, apiError(http.StatusNotFound, fmt.Errorf("%w; caddy relay secrets lists those that are", err))
	case errors.Is(err, errNotLearned):
		return 0, nil, apiError(http.StatusNotFound, err)
	case err != nil:
		return 0, nil, err
	}
	wanted.Learned, wanted.LearnedAt = true, kept.CreatedAt
	view := secretView{expectedSecret: wanted, SecretBase64: kept.Value}
	if utf8.Valid(kept.Value) {
		text := string(kept.Value)
		view.Secret, view.SecretBase64 = &text, nil
	}
	c.audit("reveal", zap.String("source", wanted.Source), zap.String("scheme", wanted.Scheme), zap.String("secret", wanted.Name))
	return http.StatusOK, view, nil
}
