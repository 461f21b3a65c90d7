-- The open dead letters in the order in which they came, however many have been ended.
create index dead_letters_open_by_id on dead_letters (id) where state = 1;
