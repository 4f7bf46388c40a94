using System.Text;
using System.Text.Json;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Control;

namespace Kvm.Cli.Running;

/// <summary>What a guest said when it was asked for its statistics.</summary>
/// <param name="Name">The guest's name.</param>
/// <param name="Line">Its answer as it came; empty where there is none.</param>
/// <param name="Stats">The answer; null where <paramref name="Problem"/> says why there is none.</param>
/// <param name="Problem">Why there is no answer.</param>
internal sealed record GuestAnswer(string Name, string Line, JsonElement? Stats, VmmException? Problem);

/// <summary>
/// Asks all guests of a runtime folder, again and again. Each is asked on a thread of its own, so that one that does not answer holds up one round, by five seconds, and
/// is not asked again until it has answered. Used by one thread.
/// </summary>
/// <param name="runtimeFolder">Where sockets are.</param>
internal sealed class GuestPoll(string runtimeFolder)
{
    private const int PatienceMs = 5_000;

    private Dictionary<string, Task<GuestAnswer?>> _silent = [];

    /// <summary>One answer of statistics, checked to be one.</summary>
    /// <exception cref="VmmException">It is none: KVM0306.</exception>
    public static JsonElement Document(ReadOnlyMemory<byte> answer, string name)
    {
        try
        {
            using var document = JsonDocument.Parse(answer);
            var root = document.RootElement.Clone();
            return root.ValueKind == JsonValueKind.Object && !root.TryGetProperty("error", out _) ? root : throw new VmmException(ControlErrors.NoGuest, $"{name} says: {VisibleText.Quote(root.ToString())}");
        }
        catch (JsonException e)
        {
            throw new VmmException(ControlErrors.NoGuest, $"{name} answers with what is no JSON", e);
        }
    }

    /// <summary>What each guest that is there says now, by name. Sockets that nobody listens at any more are left out.</summary>
    /// <exception cref="OperationCanceledException">The wait was ended.</exception>
    public IReadOnlyList<GuestAnswer> Ask(CancellationToken cancel)
    {
        var asked = ControlClient.Names(runtimeFolder).Select(name => (Name: name, Waits: _silent.TryGetValue(name, out var before) && !before.IsCompleted, Before: before)).ToList()
            .ConvertAll(guest => (guest.Name, guest.Waits, Answer: guest.Waits ? guest.Before! : Task.Factory.StartNew(() => AskOne(guest.Name), cancel, TaskCreationOptions.LongRunning, TaskScheduler.Default)));
        Task.WaitAll([.. asked.Where(guest => !guest.Waits).Select(guest => guest.Answer)], PatienceMs, cancel);
        _silent = asked.Where(guest => !guest.Answer.IsCompleted).ToDictionary(guest => guest.Name, guest => guest.Answer);
        return [.. asked.Select(guest => _silent.ContainsKey(guest.Name) ? Silent(guest.Name) : guest.Answer.Result).OfType<GuestAnswer>()];
    }

    private static GuestAnswer Silent(string name) => new(name, "", null, new VmmException(ControlErrors.NoGuest, $"{name} does not answer"));

    private GuestAnswer? AskOne(string name)
    {
        try
        {
            using var client = ControlClient.Connect(runtimeFolder, name);
            client.AskStatistics(TimeSpan.FromSeconds(1), 1);
            if (!client.TryRead(out var answer))
                return null;
            try
            {
                return new GuestAnswer(name, Encoding.UTF8.GetString(answer.Span), Document(answer, name), null);
            }
            catch (VmmException e)
            {
                return new GuestAnswer(name, "", null, e);
            }
        }
        catch (VmmException)
        {
            // It has ended, or its process was killed and left its socket.
            return null;
        }
    }
}
