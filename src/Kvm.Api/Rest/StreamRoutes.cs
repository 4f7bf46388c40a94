using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Api.Http;
using Kvm.Manager;
using Kvm.Vmm;
using Kvm.Vmm.Host;

namespace Kvm.Api.Rest;

/// <summary>What goes on: events, what a guest writes, what is typed for it.</summary>
/// <param name="services">What they work with.</param>
internal sealed class StreamRoutes(RestServices services)
{
    /// <summary>A stream says something as often as this, so that a client that is gone is found out about.</summary>
    private static readonly TimeSpan s_alive = TimeSpan.FromSeconds(15);

    /// <summary>How often it is looked whether a followed guest has ended where nothing happens in its folder.</summary>
    private static readonly TimeSpan s_look = TimeSpan.FromSeconds(1);

    private const int MostTail = 1 << 20;

    public IEnumerable<Route> All =>
    [
        new("GET", "/events", "Tells what happens to machines, as server-sent events; with a header Last-Event-ID from there on.", Events)
        {
            Gives = new ApiBody("text/event-stream"),
            Query = [new("vm", "Those of one machine."), new("past", "Begins with the oldest that are kept.")],
        },
        new("GET", "/vms/{name}/logs", "Gives what a machine's guest wrote to its console, of all its runs: the last 64 MiB.", Logs)
        {
            Gives = ApiBody.AnyBytes,
            Query = [new("follow", "Goes on with what it writes, until it has ended."), new("tail", "The last so many bytes only.")],
        },
        new("GET", "/vms/{name}/console", "Gives what a running machine's guest wrote last, and goes on with what it writes.", Console) { Gives = ApiBody.AnyBytes },
        new("POST", "/vms/{name}/console", "Types for a running machine's guest.", Type) { Takes = ApiBody.AnyBytes, Status = 204 },
    ];

    private Task<ApiAnswer> Events(ApiRequest request)
    {
        string? vm = request.Query("vm") is { } name ? VmName.Check(name) : null;
        string log = services.Manager.Events.Path;
        var cursor = request.Header("Last-Event-ID") is { Length: > 0 } last
            ? new EventCursor(log, EventPlace.Parse(last) ?? throw new ApiRefusal(400, ApiErrors.BadRequest, "Last-Event-ID is none of this API's"))
            : request.Flag("past") ? EventCursor.FromStart(log) : new EventCursor(log, null);
        // Begun before the answer is: what happens from now on is told.
        var first = cursor.Read();
        return Task.FromResult(services.Stream("text/event-stream", (to, cancel) => Tell(cursor, first, vm, to, cancel)));
    }

    private async Task Tell(EventCursor cursor, IReadOnlyList<(EventPlace Next, string Line)> lines, string? vm, Stream to, CancellationToken cancel)
    {
        int gaps = 0;
        await to.WriteAsync(": kvmsharp\n\n"u8.ToArray(), cancel);
        while (true)
        {
            var next = services.Pulse.Next;
            if (lines.Count == 0)
                lines = cursor.Read();
            if (cursor.Gaps != gaps)
            {
                gaps = cursor.Gaps;
                services.CountGap();
                await to.WriteAsync("event: lost\ndata: {}\n\n"u8.ToArray(), cancel);
            }

            foreach (var (place, line) in lines)
            {
                if (vm is null || VmOf(line) == vm)
                    await to.WriteAsync(Encoding.UTF8.GetBytes($"id: {place}\nevent: vm\ndata: {line}\n\n"), cancel);
            }

            await to.FlushAsync(cancel);
            if (lines.Count > 0)
            {
                lines = [];
                continue;
            }

            if (await Task.WhenAny(next, Task.Delay(s_alive, cancel)) != next)
            {
                cancel.ThrowIfCancellationRequested();
                await to.WriteAsync(":\n\n"u8.ToArray(), cancel);
            }
        }
    }

    private static string? VmOf(string line)
    {
        try
        {
            using var told = JsonDocument.Parse(line);
            return told.RootElement.GetProperty("vm").GetString();
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException)
        {
            return null;
        }
    }

    private Task<ApiAnswer> Logs(ApiRequest request)
    {
        string name = request["name"];
        _ = services.Manager.Store.Read(name);
        bool follow = request.Flag("follow");
        if (request.Query("tail") is { } tail)
            return Task.FromResult(Tail(name, follow, tail));
        return Task.FromResult(services.Stream("application/octet-stream", (to, cancel) => OnThread($"logs {name}", () => Copy(name, follow, to, cancel))));
    }

    private ApiAnswer Tail(string name, bool follow, string tail)
    {
        if (follow || !int.TryParse(tail, NumberStyles.None, CultureInfo.InvariantCulture, out int most) || most > MostTail)
            throw new ApiRefusal(400, ApiErrors.BadRequest, $"tail is a number of bytes up to {MostTail}, without follow");
        byte[] text = new byte[most];
        int filled = most;
        string path = services.Manager.Store.ConsoleLogOf(name);
        foreach (string file in (string[])[path, path + ".old"])
        {
            if (filled == 0 || !File.Exists(file))
                continue;
            using var log = File.OpenHandle(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            long length = RandomAccess.GetLength(log);
            int count = (int)Math.Min(length, filled);
            // What is written meanwhile is the next one's.
            int read = RandomAccess.Read(log, text.AsSpan(filled - count, count), length - count);
            filled -= read == count ? count : 0;
        }

        return ApiAnswer.Bytes("application/octet-stream", text.AsMemory(filled));
    }

    private void Copy(string name, bool follow, Stream to, CancellationToken cancel)
    {
        string path = services.Manager.Store.ConsoleLogOf(name);
        if (File.Exists(path + ".old"))
        {
            using var old = File.OpenRead(path + ".old");
            old.CopyTo(to);
        }

        using var follower = new FileFollower(path, fromEnd: false);
        byte[] text = new byte[64 << 10];
        while (true)
        {
            // Looked at before the file: what was written before the end is read before it is found out about.
            bool goesOn = follow && services.Manager.Get(name) is var record && (Lifecycle.IsActive(record.State) || record.RestartAt is not null);
            int count, all = 0;
            while ((count = follower.Read(text)) > 0)
            {
                to.WriteAsync(text.AsMemory(0, count), cancel).AsTask().GetAwaiter().GetResult();
                all += count;
            }

            to.FlushAsync(cancel).GetAwaiter().GetResult();
            if (!goesOn)
                return;
            if (all == 0)
                follower.Wait(s_look, cancel);
            cancel.ThrowIfCancellationRequested();
        }
    }

    private Task<ApiAnswer> Console(ApiRequest request)
    {
        string name = request["name"];
        var client = services.Manager.Connect(name);
        return Task.FromResult(services.Stream("application/octet-stream", (to, cancel) => OnThread($"console {name}", () =>
        {
            using (client)
            using (cancel.Register(client.Cancel))
            {
                client.Ask("console read");
                if (!client.TryRead(out _))
                    return;
                byte[] text = new byte[16 << 10];
                int count;
                while ((count = client.Read(text)) > 0)
                {
                    to.WriteAsync(text.AsMemory(0, count), cancel).AsTask().GetAwaiter().GetResult();
                    to.FlushAsync(cancel).GetAwaiter().GetResult();
                }
            }
        })));
    }

    private Task<ApiAnswer> Type(ApiRequest request) => Task.Run(() =>
    {
        using var client = services.Manager.Connect(request["name"]);
        using var ending = request.Cancel.Register(client.Cancel);
        client.Ask("console write");
        if (!client.TryRead(out var greeting))
            throw new VmmException(ManagerErrors.WrongState, $"{request["name"]} has ended");
        using (var answer = JsonDocument.Parse(greeting))
        {
            if (answer.RootElement.TryGetProperty("writes", out var writes) && writes.ValueKind == JsonValueKind.False)
                throw new VmmException(ManagerErrors.Busy, $"another client types at {request["name"]}");
        }

        client.Send(request.Bytes.Span);
        return ApiAnswer.Done;
    });

    /// <summary>On a thread of its own: it waits, and the pool's threads are few.</summary>
    private static Task OnThread(string name, Action work)
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var thread = new Thread(() =>
        {
            try
            {
                work();
                done.SetResult();
            }
            catch (Exception e) when (e is IOException or OperationCanceledException or VmmException or UnauthorizedAccessException or ObjectDisposedException)
            {
                // Its client or its guest is gone.
                done.SetException(new OperationCanceledException(name, e));
            }
        }, 256 << 10)
        { Name = name, IsBackground = true };
        thread.Start();
        return done.Task;
    }
}
