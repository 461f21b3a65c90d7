-- The trace that an event is part of (W3C Trace Context: trace id, span id, flags), where its command's id does not say it.
alter table events add column trace bytea;
