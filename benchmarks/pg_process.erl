#!/usr/bin/env escript
%%! -setcookie benchmark
%% What group_process is, with distributed Erlang and its pg: the same lines in, the same JSON lines out.
%% Arguments: its own name and those of all others. It is compiled when it starts.
-mode(compile).

main([Name | Others]) ->
    logger:remove_handler(default),
    logger:set_primary_config(level, error),  % not that it disconnects from a node that stops, which is meant
    logger:add_handler(default, logger_std_h, #{config => #{type => standard_error}}),
    put(name, list_to_atom(Name)),
    put(others, [list_to_atom(Other) || Other <- Others]),
    say("ready", ",\"pid\":~s", [os:getpid()]),
    _ = io:get_line(""),
    start(),
    say("started", "", []),
    obey().

start() ->
    {ok, _} = net_kernel:start([get(name), longnames]),
    {ok, _} = pg:start(pg),
    [net_kernel:connect_node(Other) || Other <- get(others)],
    spawn_link(fun() -> net_kernel:monitor_nodes(true), alive(0) end),
    ok.

alive(Before) ->
    case length(nodes()) + 1 of
        Before -> ok;
        Count -> say("alive", ",\"count\":~b", [Count])
    end,
    Now = length(nodes()) + 1,
    receive {nodeup, _} -> ok; {nodedown, _} -> ok end,
    alive(Now).

obey() ->
    case io:get_line("") of
        eof -> halt(0);
        Line ->
            [Command | Numbers] = string:lexemes(Line, " \n"),
            obey(Command, [list_to_integer(Number) || Number <- Numbers]),
            obey()
    end.

%% --- mail

obey("sit", [Count]) ->
    ok = pg:join(fan, spawn_link(fun() -> sit(0, 0) end)),
    until(fun() -> length(pg:get_members(fan)) >= Count end),
    say("sitting", "", []);
obey("expect", [Count]) ->
    [Mine] = pg:get_local_members(fan),
    Mine ! {expect, Count, self()},
    receive expecting -> say("expecting", "", []) end;
obey("fan", [Count]) ->
    fan(Count, payload(), hd(pg:get_local_members(fan))),
    say("sent", "", []);
obey("ping", [Count]) ->
    To = hd([Pid || Pid <- pg:get_members(fan), node(Pid) =/= node()]),
    Payload = payload(),
    Times = lists:sort([ping(To, Payload) || _ <- lists:seq(1, Count)]),
    say("rtt", ",\"p50\":~.3f,\"p99\":~.3f", [share(Times, Count * 50 div 100), share(Times, Count * 99 div 100)]);

%% --- members

obey("join", [Count]) ->
    put(boxes, [box(Number) || Number <- lists:seq(0, Count - 1)]),
    say("joined", "", []);
obey("drop", []) ->
    [Pid ! stop || Pid <- get(boxes)],
    until(fun() -> length(pg:which_groups()) =< 1 end),
    say("dropped", "", []);
obey("see", [Count]) ->
    {Reference, Members} = pg:monitor({<<"g">>, Count - 1}),
    say("looking", "", []),
    case Members of
        [] -> receive {Reference, join, _, _} -> ok end;
        _ -> ok
    end,
    pg:demonitor(Reference),
    say("seen", ",\"groups\":~b", [groups()]);
obey("tidy", []) ->
    [erlang:garbage_collect(Pid) || Pid <- processes()],
    say("tidied", "", []);
obey("stop", []) ->
    gen_server:stop(pg),
    ok = net_kernel:stop(),
    say("stopped", "", []);
obey("again", [Count]) ->
    Begin = os:perf_counter(nanosecond),
    start(),
    until(fun() -> groups() >= Count end),
    say("back", ",\"seconds\":~.6f,\"groups\":~b", [(os:perf_counter(nanosecond) - Begin) / 1.0e9, groups()]).

sit(Left, Got) ->
    receive
        {fan, _} when Left =:= 1 -> say("got", ",\"lost\":0", []), sit(0, Got + 1);
        {fan, _} -> sit(Left - 1, Got + 1);
        {ping, From, Payload} -> From ! {pong, Payload}, sit(Left, Got);
        {expect, Count, From} -> From ! expecting, sit(Count, 0)
    end.

fan(0, _, _) -> ok;
fan(Count, Payload, Me) ->
    [Pid ! {fan, Payload} || Pid <- pg:get_members(fan), Pid =/= Me],
    fan(Count - 1, Payload, Me).

ping(To, Payload) ->
    Begin = os:perf_counter(nanosecond),
    To ! {ping, self(), Payload},
    receive {pong, _} -> (os:perf_counter(nanosecond) - Begin) / 1000 end.

box(Number) ->
    Pid = spawn(fun() -> receive stop -> ok end end),
    ok = pg:join({<<"g">>, Number}, Pid),
    Pid.

groups() -> length([Group || {_, _} = Group <- pg:which_groups()]).

payload() -> list_to_binary(lists:seq(0, 127)).

share(Times, Place) -> float(lists:nth(Place, Times)).

until(Condition) ->
    case Condition() of
        true -> ok;
        false -> timer:sleep(1), until(Condition)
    end.

say(Event, Format, Values) ->
    At = os:perf_counter(nanosecond) / 1.0e9,
    io:format("{\"event\":\"~s\",\"at\":~.6f" ++ Format ++ "}~n", [Event, At | Values]).
