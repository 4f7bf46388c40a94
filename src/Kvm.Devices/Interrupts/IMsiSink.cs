namespace Kvm.Devices.Interrupts;

/// <summary>Where message-signalled interrupts go: a write to an address of the local APICs (SDM vol. 3, 11.11).</summary>
public interface IMsiSink
{
    /// <summary>Sends one message. Safe from any thread; a message nobody accepts is dropped.</summary>
    /// <param name="address">The message address, 0xFEEx_xxxx for a valid message; guest-chosen, so anything may come.</param>
    /// <param name="data">The message data: vector, delivery mode, level, trigger mode.</param>
    void Send(ulong address, uint data);

    /// <summary>Makes a way for one sender's message, or null if <see cref="Send"/> is as good or there are no more. It lives as long as the sink.</summary>
    IMsiRoute? TryRoute() => null;
}
