//! Two kinds of trouble, never mixed: [`Ignore`] leaves everything as it was (unauthenticated rubbish must never
//! end a connection), [`Failure`] ends a negotiation and says who must act.
