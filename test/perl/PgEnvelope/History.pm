# What 16 clients asked and were told (test/t/636_history.pl), and whether a server that
# loses no key can have told it.
#
# A history is a list of hashes, in the file one JSON object a line, in any order:
#	{"id": 7, "client": 3, "t": 1.5, "op": "seal", "key": "k1", "plain": "v7"}	asked, at this time,
#	{"id": 7, "t": 1.6, "answer": "ok", "value": "\\x01..."}	and answered: ok, error (with
#		"code", the SQLSTATE), or lost with the connection.  No answer is as good as lost.
#	{"final": {"keys": {"k1": "enabled"}, "deks": [{"dek_id": 5, "key": "k1", "version": 1,
#		"state": "active", "live": 1}]}}	the tables in the end; live: wrappings
# The operations, each in a transaction of its own:
#	seal (key, plain)			value: what was sealed
#	open (key, sealed)			value: what it opened to, "since": not before then; "final": the server is at rest
#	create, rotate (key, plain)	and seals with it; value: what was sealed; of a rotation also
#					"version", which it returned; "rollback": no commit follows
#	disable, enable (key)
#	grant, revoke (key)			to the reader, who has no right at first: "reader" marks what is opened as that role
#	other (what)				nothing that is judged but its error
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::History;

use strict;
use warnings FATAL => 'all';

use Carp;
use JSON::PP;
use Storable qw(dclone);

my $never = 9**9**9;

# What may happen to any statement here: the agent or the service was not there, somebody
# else was faster, or it was cancelled or ended.
my $excused = qr/^(?:KE006|KE007|40001|57014|57P0[1-5])$/;
# A KEK may be retired under whoever makes a data key, and a key disabled.
my %excused = (create => qr/^KE011$/, rotate => qr/^(?:KE004|KE011)$/, seal => qr/^KE004$/, open => qr/^KE004$/, other => qr/^KE011$/);

# What one operation gives and another takes back, if it is given at first; who must have it, what
# the others are told, and what it is called when they have it or when one of the first has not.
my @taken_back = (
	{ give => 'enable', take => 'disable', given => 1, needs => sub { $_[0]{op} =~ /^(?:seal|open|rotate)$/ }, code => 'KE004', kind => 'disabled' },
	{ give => 'grant', take => 'revoke', given => 0, needs => sub { $_[0]{reader} }, code => '42501', kind => 'revoked' });

sub read_file
{
	my ($file) = @_;
	open(my $in, '<', $file) or croak "$file: $!";
	my @history = map { /^\{"final"/ ? decode_json($_) : decode_flat($_) } <$in>;
	return \@history;
}

# JSON::PP takes a minute for what is read in a second like this.
sub decode_flat
{
	my ($line) = @_;
	my %object;
	$line =~ s/\A\{\s*|\s*\}\s*\z//g;
	while ($line =~ /\G"(\w+)":\s*(?:"((?:[^"\\]|\\["\\])*)"|(-?[\d.]+(?:e[-+]?\d+)?))(?:,\s*|\z)/gc)
	{
		my ($name, $string, $number) = ($1, $2, $3);
		$object{$name} = $number // $string =~ s/\\(.)/$1/gr;
	}
	croak "cannot be read: $line" if (pos($line) // 0) < length $line;
	return \%object;
}

sub encode_flat
{
	my ($object) = @_;
	my %number = map { ($_ => 1) } qw(client final id reader rollback since t version);
	return '{' . join(', ', map { qq{"$_": } . ($number{$_} ? $object->{$_} : '"' . ($object->{$_} =~ s/(["\\])/\\$1/gr) . '"') }
		grep { defined $object->{$_} } sort keys %$object) . '}';
}

sub write_file
{
	my ($history, $file) = @_;
	open(my $out, '>', $file) or croak "$file: $!";
	print $out ref $_->{final} ? encode_json($_) : encode_flat($_), "\n" for @$history;
	close($out) or croak "$file: $!";
	return;
}

sub copy { return dclone($_[0]); }

sub dek_id_of { return unpack('x N', pack('H*', substr($_[0], 2))); }

# The operations with their answers, in the order of their starts, and the final state.
# Beside its start t each has e, when it was surely over.
sub operations
{
	my ($history) = @_;
	my (%op, $final);
	for my $line (grep { defined $_->{op} } @$history)
	{
		$op{ $line->{id} } = { answer => 'lost', e => $never, %$line };
	}
	for my $line (grep { !defined $_->{op} } @$history)
	{
		if ($line->{final})
		{
			$final = $line->{final};
			next;
		}
		my $op = $op{ $line->{id} } // croak "answer $line->{id} to nothing";
		@$op{qw(answer value code version)} = @$line{qw(answer value code version)};
		# what a lost connection had asked may show only when the server is up again
		$op->{e} = $line->{t} unless $line->{answer} eq 'lost';
	}
	return ([ sort { $a->{t} <=> $b->{t} } values %op ], $final // croak 'no final state');
}

# Every [ kind, sentence ] that a server which keeps its promises cannot have told.
sub check
{
	my ($history) = @_;
	my ($ops, $final) = operations($history);
	my %h = (ops => $ops, final => $final, wrong => []);
	index_of(\%h);
	check_errors(\%h);
	check_final(\%h);
	check_rolled_back(\%h);
	check_opens(\%h);
	check_taken_back(\%h, $_) for @taken_back;
	check_deks(\%h);
	check_rotations(\%h);
	return @{ $h{wrong} };
}

sub wrong { my ($h, $kind, $text) = @_; push @{ $h->{wrong} }, [ $kind, $text ]; return; }

sub told { my ($op) = @_; return "operation $op->{id} ($op->{op}" . (defined $op->{key} ? " of $op->{key})" : ')'); }

sub is_ok { return $_[0]{answer} eq 'ok'; }

# By key; which value was sealed how; which data keys exist in the end.
sub index_of
{
	my ($h) = @_;
	for my $op (@{ $h->{ops} })
	{
		push @{ $h->{by_key}{ $op->{key} } }, $op if defined $op->{key};
		$h->{sealed}{ $op->{value} } = $op if is_ok($op) && defined $op->{plain};
	}
	for my $dek (@{ $h->{final}{deks} })
	{
		$h->{dek}{ $dek->{dek_id} } = $dek;
		push @{ $h->{deks_of}{ $dek->{key} } }, $dek;
	}
	return;
}

sub check_errors
{
	my ($h) = @_;
	for my $op (grep { $_->{answer} eq 'error' } @{ $h->{ops} })
	{
		next if $op->{code} =~ $excused || ($excused{ $op->{op} } && $op->{code} =~ $excused{ $op->{op} });
		next if $op->{op} eq 'open';		# of which more is known
		next if $op->{code} eq '42704' && !surely_exists($h, $op);
		wrong($h, 'error', told($op) . " failed with $op->{code}");
	}
	return;
}

# Was the key's creation acknowledged before, or the key seen?
sub surely_exists
{
	my ($h, $op) = @_;
	return grep { !$_->{rollback} && is_ok($_) && $_->{e} < $op->{t} } @{ $h->{by_key}{ $op->{key} } };
}

sub check_final
{
	my ($h) = @_;
	my %active;
	for my $dek (@{ $h->{final}{deks} })
	{
		$active{ $dek->{key} }++ if $dek->{state} eq 'active';
		wrong($h, 'lost', "version $dek->{version} of $dek->{key} has no wrapping") if $dek->{live} < 1;
		wrong($h, 'alive', "version $dek->{version} belongs to $dek->{key}, which is not there") unless exists $h->{final}{keys}{ $dek->{key} };
	}
	for my $key (sort keys %{ $h->{final}{keys} })
	{
		my $n = $active{$key} // 0;
		wrong($h, $n > 1 ? 'two active' : 'lost', "$key has $n active versions") if $n != 1;
	}
	for my $op (grep { !$_->{rollback} && is_ok($_) && defined $_->{key} } @{ $h->{ops} })
	{
		wrong($h, 'lost', told($op) . ' went well, and the key is not there') unless exists $h->{final}{keys}{ $op->{key} };
	}
	return;
}

# Nobody asked for a commit, so whatever was made is nowhere.
sub check_rolled_back
{
	my ($h) = @_;
	for my $op (grep { $_->{rollback} } @{ $h->{ops} })
	{
		if ($op->{op} eq 'create')
		{
			wrong($h, 'alive', told($op) . ' was rolled back, and the key is there') if exists $h->{final}{keys}{ $op->{key} };
			wrong($h, 'alive', told($op) . ' was rolled back, and ' . told($_) . ' went well')
			  for grep { $_ != $op && is_ok($_) } @{ $h->{by_key}{ $op->{key} } };
		}
		next unless is_ok($op);
		my $dek = $h->{dek}{ dek_id_of($op->{value}) };
		next unless $dek;
		$op->{lost_race} = has_winner($h, $op);
		wrong($h, 'alive', told($op) . " was rolled back, and its data key is version $dek->{version} of $dek->{key}") unless $op->{lost_race};
	}
	return;
}

# A rotation that finds itself beaten returns the version of the other, and seals with that.
sub has_winner
{
	my ($h, $op) = @_;
	return grep { $_->{op} eq 'rotate' && !$_->{rollback} && $_->{t} < $op->{e} && $_->{e} > $op->{t} &&
		  ($_->{answer} eq 'lost' || (is_ok($_) && dek_id_of($_->{value}) == dek_id_of($op->{value}))) } @{ $h->{by_key}{ $op->{key} } };
}

# What was sealed opens, to what it was and by its own key alone.
sub check_opens
{
	my ($h) = @_;
	for my $op (grep { $_->{op} eq 'open' } @{ $h->{ops} })
	{
		my $seal = $h->{sealed}{ $op->{sealed} } // croak told($op) . ': nobody has sealed that';
		my $foreign = $seal->{key} ne $op->{key};
		my $dead = $seal->{rollback} && !$seal->{lost_race};
		if (is_ok($op))
		{
			wrong($h, 'alive', told($op) . ' opened what ' . told($seal) . ' sealed and rolled back') if $dead;
			wrong($h, 'foreign', told($op) . ' opened what ' . told($seal) . ' sealed') if $foreign;
			wrong($h, 'wrong value', told($op) . " opened \"$op->{value}\" and not \"$seal->{plain}\"") if $op->{value} ne $seal->{plain};
		}
		elsif ($op->{answer} eq 'error')
		{
			next if $op->{code} =~ $excused && !$op->{final};
			my @expected = ($dead ? qw(KE003 42704) : (), $foreign ? qw(KE001 KE003 KE004) : $op->{final} ? () : 'KE004', $op->{reader} ? '42501' : ());
			wrong($h, 'lost', told($op) . " of what " . told($seal) . " sealed failed with $op->{code}") unless grep { $op->{code} eq $_ } @expected;
		}
	}
	return;
}

# Taken back by one who knew it, and given by nobody who can have done it since.
sub check_taken_back
{
	my ($h, $right) = @_;
	for my $key (sort keys %{ $h->{by_key} })
	{
		my @ops = grep { $_->{answer} ne 'error' || $_->{code} eq $right->{code} } @{ $h->{by_key}{$key} };
		my @take = grep { $_->{op} eq $right->{take} && $_->{answer} ne 'error' } @ops;
		my @give = grep { $_->{op} eq $right->{give} && $_->{answer} ne 'error' } @ops;
		for my $op (grep { $right->{needs}->($_) } @ops)
		{
			if (is_ok($op))
			{
				my $last = last_before($op->{since} // $op->{t}, @take);
				wrong($h, $right->{kind}, told($op) . ' went well ' . ($last ? 'after ' . told($last) : "before any $right->{give}"))
				  if ($last || !$right->{given}) && !grep { $_->{t} < $op->{e} && (!$last || $_->{e} > $last->{t}) } @give;
			}
			elsif ($op->{answer} eq 'error')
			{
				my $last = last_before($op->{t}, @give);
				wrong($h, "not $right->{kind}", told($op) . " was refused, and nobody can have sent a $right->{take}")
				  if ($last || $right->{given}) && !grep { $_->{t} < $op->{e} && (!$last || $_->{e} > $last->{t}) } @take;
			}
		}
	}
	return;
}

# Of operations in the order of their starts: the last that was acknowledged before then.
sub last_before
{
	my ($time, @ops) = @_;
	for my $op (reverse @ops)
	{
		return $op if $op->{e} < $time && is_ok($op);
	}
	return;
}

# A data key is of one key, and at each moment one of them seals: versions only grow.
sub check_deks
{
	my ($h) = @_;
	my %key_of;
	for my $key (sort keys %{ $h->{by_key} })
	{
		my @seals = grep { is_ok($_) && defined $_->{plain} && !$_->{rollback} } @{ $h->{by_key}{$key} };
		my ($newest, $ended) = (0, {});
		for my $op (sort { $a->{e} <=> $b->{e} } @seals)
		{
			my $id = dek_id_of($op->{value});
			my $dek = $h->{dek}{$id};
			my $other = $key_of{$id} //= $key;
			wrong($h, 'foreign', told($op) . " sealed with a data key of $other") if $other ne $key;
			wrong($h, $dek ? 'foreign' : 'lost', told($op) . ' sealed with a data key ' . ($dek ? "of $dek->{key}" : 'that is not there')) if !$dek || $dek->{key} ne $key;
			next unless $dek;
			# whoever began when a newer one had sealed must not use an older one
			wrong($h, 'two active', told($op) . " sealed with version $dek->{version} after version $newest had") if newest_before($ended, $op->{t}) > $dek->{version};
			$newest = $dek->{version} if $dek->{version} > $newest;
			push @{ $ended->{ended} }, [ $op->{e}, $newest ];
		}
	}
	return;
}

# Of [ end, newest version until then ], by their ends: what was newest at that time.
sub newest_before
{
	my ($ended, $time) = @_;
	my $list = $ended->{ended} // [];
	my ($low, $high) = (0, scalar @$list);
	while ($low < $high)
	{
		my $middle = int(($low + $high) / 2);
		$list->[$middle][0] < $time ? ($low = $middle + 1) : ($high = $middle);
	}
	return $low == 0 ? 0 : $list->[ $low - 1 ][1];
}

# An acknowledged version is there, and whoever seals later seals with it or a newer one.
sub check_rotations
{
	my ($h) = @_;
	for my $key (sort keys %{ $h->{by_key} })
	{
		my %version = map { ($_->{version} => 1) } @{ $h->{deks_of}{$key} // [] };
		my @rotations = grep { $_->{op} eq 'rotate' && !$_->{rollback} && is_ok($_) } @{ $h->{by_key}{$key} };
		wrong($h, 'rotation', told($_) . ' is acknowledged, and its data key is not there') for grep { !$h->{dek}{ dek_id_of($_->{value}) } } @rotations;
		wrong($h, 'rotation', "$key has " . scalar(keys %version) . ' versions, and not all before the newest') if grep { !$version{$_} } 1 .. keys %version;
		for my $op (grep { $h->{dek}{ dek_id_of($_->{value}) } } @rotations)
		{
			wrong($h, 'rotation', told($op) . " returned version $op->{version}, which is not there") unless $version{ $op->{version} };
			wrong($h, 'rotation', told($op) . " returned version $op->{version}, and sealed with an older one") if $h->{dek}{ dek_id_of($op->{value}) }{version} < $op->{version};
		}
		# each committed one has made one, so has perhaps one whose answer is lost
		my %made = map { (dek_id_of($_->{value}) => 1) } @rotations;
		wrong($h, 'rotation', "$key was rotated to " . keys(%made) . ' data keys and has ' . keys(%version) . ' versions') if keys %version && keys %version < 1 + keys %made;
	}
	return;
}

#
# Seven histories that must not pass, each by one edit of a good one: [ its kind, the edit ].
# An edit that finds nothing to edit returns 0.
#
sub doctors
{
	return (
		'a lost DEK' => [ 'lost', \&lose_dek ],
		'two active versions' => [ 'two active', \&make_two_active ],
		q{a foreign tenant's DEK} => [ 'foreign', \&take_foreign_dek ],
		'an acknowledged rotation that is missing' => [ 'rotation', \&drop_rotation ],
		'a value opened after an acknowledged disable' => [ 'disabled', sub { open_taken_back($_[0], $taken_back[0]) } ],
		'a value opened by a reader after an acknowledged revoke' => [ 'revoked', sub { open_taken_back($_[0], $taken_back[1]) } ],
		'a rolled-back key that is alive' => [ 'alive', \&revive_key ]);
}

sub asked { my ($history, $condition) = @_; return grep { defined $_->{op} && $condition->($_) } @$history; }

sub answers { my ($history) = @_; return map { ($_->{id} => $_) } grep { defined $_->{answer} } @$history; }

sub lose_dek
{
	my ($history) = @_;
	my %answer = answers($history);
	my ($open) = asked($history, sub { $_[0]{op} eq 'open' && $_[0]{final} && $answer{ $_[0]{id} }{answer} eq 'ok' }) or return 0;
	my $answer = $answer{ $open->{id} };
	delete $answer->{value};
	@$answer{qw(answer code)} = qw(error KE003);
	return 1;
}

sub final_of { my ($history) = @_; my ($line) = grep { ref $_->{final} } @$history; return $line->{final}; }

sub make_two_active
{
	my ($dek) = grep { $_->{state} eq 'retired' } @{ final_of($_[0])->{deks} } or return 0;
	$dek->{state} = 'active';
	return 1;
}

sub take_foreign_dek
{
	my ($history) = @_;
	my %answer = answers($history);
	my @seals = grep { ($answer{ $_->{id} }{answer} // '') eq 'ok' } asked($history, sub { $_[0]{op} eq 'seal' }) or return 0;
	my ($seal, $other) = ($seals[0], grep { $_->{key} ne $seals[0]{key} } @seals);
	return 0 unless $other;
	my $was = $answer{ $seal->{id} }{value};
	substr(my $is = $was, 4, 8) = substr($answer{ $other->{id} }{value}, 4, 8);
	$_->{value} = $is for grep { ($_->{value} // '') eq $was } @$history;
	$_->{sealed} = $is for grep { ($_->{sealed} // '') eq $was } @$history;
	return 1;
}

# The newest version, which no value needs.
sub drop_rotation
{
	my ($history) = @_;
	my ($final, %answer) = (final_of($history), answers($history));
	my %used;
	$used{ dek_id_of($answer{ $_->{id} }{value}) }++ for grep { ($answer{ $_->{id} }{answer} // '') eq 'ok' } asked($history, sub { defined $_[0]{plain} && !$_[0]{rollback} });
	for my $rotate (grep { ($answer{ $_->{id} }{answer} // '') eq 'ok' } asked($history, sub { $_[0]{op} eq 'rotate' && !$_[0]{rollback} }))
	{
		my $id = dek_id_of($answer{ $rotate->{id} }{value});
		my ($dek) = grep { $_->{dek_id} == $id } @{ $final->{deks} };
		my ($before) = grep { $_->{key} eq $dek->{key} && $_->{version} == $dek->{version} - 1 } @{ $final->{deks} };
		next unless $dek->{state} eq 'active' && $used{$id} == 1;
		$final->{deks} = [ grep { $_ != $dek } @{ $final->{deks} } ];
		$before->{state} = 'active';
		return 1;
	}
	return 0;
}

sub open_taken_back
{
	my ($history, $right) = @_;
	my %answer = answers($history);
	my %plain = map { ($answer{ $_->{id} }{value} // '' => $_) } asked($history, sub { defined $_[0]{plain} });
	my @taken = grep { ($answer{ $_->{id} }{answer} // '') eq 'ok' } asked($history, sub { $_[0]{op} eq $right->{take} });
	my @given = grep { ($answer{ $_->{id} }{answer} // 'lost') ne 'error' } asked($history, sub { $_[0]{op} eq $right->{give} });
	for my $open (grep { ($answer{ $_->{id} }{code} // '') eq $right->{code} && $plain{ $_->{sealed} }{key} eq $_->{key} } asked($history, sub { $_[0]{op} eq 'open' }))
	{
		my ($take) = sort { $b->{t} <=> $a->{t} } grep { $_->{key} eq $open->{key} && $answer{ $_->{id} }{t} < $open->{t} } @taken or next;
		my $answer = $answer{ $open->{id} };
		next if grep { $_->{key} eq $open->{key} && $_->{t} < $answer->{t} && (($answer{ $_->{id} }{answer} // 'lost') eq 'lost' || $answer{ $_->{id} }{t} > $take->{t}) } @given;
		delete $answer->{code};
		@$answer{qw(answer value)} = ('ok', $plain{ $open->{sealed} }{plain});
		return 1;
	}
	return 0;
}

sub revive_key
{
	my ($history) = @_;
	my ($create) = asked($history, sub { $_[0]{op} eq 'create' && $_[0]{rollback} }) or return 0;
	my $final = final_of($history);
	$final->{keys}{ $create->{key} } = 'enabled';
	push @{ $final->{deks} }, { dek_id => 0, key => $create->{key}, version => 1, state => 'active', live => 1 };
	return 1;
}

1;
