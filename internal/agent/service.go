package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
)

// Service does what a request asks for whose operation it is, and has the connection for that until it returns. It reads
// from in, as something may have been read from conn already. ctx ends with the server.
type Service func(ctx context.Context, conn net.Conn, in *bufio.Reader, body json.RawMessage)

// attend lets the client know that the agent has the service, and then the service speak.
func (s Service) attend(ctx context.Context, conn net.Conn, in *bufio.Reader, body json.RawMessage) {
	if writeFrame(conn, framePong, nil) == nil {
		s(ctx, conn, in, body)
	}
}

// Open asks for an operation that is one of the agent's Services, once, and gives the connection to it. What the
// service sends is read from in; Heartbeat bounds how long nothing may come.
func (c *Client) Open(ctx context.Context, op string, body any) (net.Conn, *bufio.Reader, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a request to the agent: %w", err)
	}
	conn, in, err := c.open(ctx, request{Op: op, Body: text})
	if err != nil {
		return nil, nil, err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	kind, payload, err := readFrame(in, 1<<20)
	if err == nil && kind == frameError {
		err = refused(payload)
	}
	if err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("asking the agent to %s: %w", op, err)
	}
	return conn, in, nil
}
