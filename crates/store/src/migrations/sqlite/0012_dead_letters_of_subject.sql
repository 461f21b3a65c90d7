-- The dead letters of a payment, withdrawal or merchant, those that were ended among them, however many there are of others.
create index dead_letters_of_subject on dead_letters (subject_id, id);
