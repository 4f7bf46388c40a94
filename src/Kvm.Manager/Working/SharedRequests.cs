using System.Buffers;
using System.Globalization;
using System.Text;
using Kvm.Vmm.Control;
using Kvm.Vmm.Host;

namespace Kvm.Manager.Working;

/// <summary>
/// <c>start NAME GENERATION</c> at the socket of shared machines: takes a machine. The answer is a line at once (<c>taken</c>, <c>process</c>, <c>startTime</c>), after which its
/// record is to name this process, and one (<c>decided</c>) when it runs or has failed. No answer where the process is about to end.
/// </summary>
internal sealed class SharedStartRequest(SharedHostServer server) : IControlRequest
{
    public string Name => "start";

    public string Form => "start NAME GENERATION";

    public ControlReply? Begin(ControlTarget target, IReadOnlyList<string> words) => words is [var name, var number] && VmName.IsName(name)
        && long.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out long generation)
        ? server.Take(name, generation) is { } machine ? new TaskReply(machine.Decided, Taken(), "{\"decided\":true}\n") : new TaskReply(Task.CompletedTask, "", "")
        : null;

    private static string Taken()
    {
        var own = HostProcess.Own;
        return string.Create(CultureInfo.InvariantCulture, $"{{\"taken\":true,\"process\":{own.Id},\"startTime\":{own.StartTime}}}\n");
    }
}

/// <summary><c>ended NAME GENERATION</c>: one line when that start of a machine has ended, and its record says so.</summary>
internal sealed class SharedEndedRequest(SharedHostServer server) : IControlRequest
{
    public string Name => "ended";

    public string Form => "ended NAME GENERATION";

    public ControlReply? Begin(ControlTarget target, IReadOnlyList<string> words) => words is [var name, var number]
        && long.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out long generation)
        ? new TaskReply(server.EndOf(name, generation) ?? Task.CompletedTask, "", "{\"ended\":true}\n")
        : null;
}

/// <summary>An answer that says something at once, and something when a task has completed. Costs no thread meanwhile.</summary>
internal sealed class TaskReply : ControlReply
{
    private readonly Task _task;
    private readonly string _last;
    private readonly Lock _lock = new();
    private string _first;
    private bool _gone;

    public TaskReply(Task task, string first, string last)
    {
        (_task, _first, _last) = (task, first, last);
        _task.ContinueWith(static (_, reply) => ((TaskReply)reply!).OnDone(), this, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
    }

    public override long Due => _first.Length > 0 || _task.IsCompleted ? 0 : long.MaxValue;

    public override bool Advance(long now, IBufferWriter<byte> to)
    {
        Encoding.ASCII.GetBytes(_first, to);
        _first = "";
        if (!_task.IsCompleted)
            return true;
        Encoding.ASCII.GetBytes(_last, to);
        return false;
    }

    public override void Dispose()
    {
        lock (_lock)
            _gone = true;
        base.Dispose();
    }

    private void OnDone()
    {
        lock (_lock)
        {
            if (!_gone)
                Ring();
        }
    }
}
