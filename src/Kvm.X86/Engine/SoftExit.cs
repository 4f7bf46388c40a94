namespace Kvm.X86.Engine;

/// <summary>Why <see cref="SoftProcessor.Run()"/> returned.</summary>
public enum SoftExit
{
    /// <summary><see cref="SoftProcessor.Kick"/> was called.</summary>
    Kicked,

    /// <summary>Triple fault: the processor is in shutdown until it is reset.</summary>
    Shutdown,

    /// <summary>The guest did what this engine does not do; <see cref="SoftProcessor.Failure"/> says what. The state is the one before it.</summary>
    Unsupported,

    /// <summary>As many instructions were retired as <see cref="SoftProcessor.Run(ulong)"/> was asked for, or it was told to yield.</summary>
    Limit,

    /// <summary>The processor has nothing to do until an interrupt or a start-up; only <see cref="SoftProcessor.Run(ulong)"/> says so.</summary>
    Halted,

    /// <summary>A debugger's point was reached, or its step made: <see cref="SoftProcessor.Hit"/>. The processor can go on.</summary>
    Debug,
}
